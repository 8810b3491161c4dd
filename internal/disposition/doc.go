// Package disposition is for what os/signal cannot do: how the kernel, rather
// than Go's runtime, has this process take signals, and how it ends by one.
package disposition
