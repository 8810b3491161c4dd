// Package gate serves the clients of an owner's socket. Any of them can be slow, say
// nothing, or not read: it takes one of a few places until its time is over, and nothing
// of the run waits for it.
package gate
