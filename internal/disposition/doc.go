// Package disposition is for what os/signal cannot do: to set what the kernel,
// rather than Go's runtime, does with a signal, and to end the process by one.
package disposition
