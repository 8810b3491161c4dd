// Package stub is a keeper that has no runtime: a process that is forked and
// executes nothing. It holds a run as long as all goes well, and kills it if it has
// to. For what takes more, such as the steps of a plan, it starts a helper.
//
// The functions that are called after the fork live by other rules than Go's. In
// the child there is one thread. Locks of the runtime may be held by threads that
// it does not have. So they do not allocate, store no pointers (the garbage
// collector may have been at work, and wants to know of them), make raw system
// calls only, and keep to a stack that is large enough from the start. The race
// detector must not look at them.
package bare
