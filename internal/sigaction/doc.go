// Package sigaction has to do with signals as the kernel sees them, behind the
// back of the Go runtime and its handlers. On systems other than Linux it is
// what os/signal has to offer.
//
//   - Ignored reports whether the process ignores a signal, and a program
//     started from it would. A signal that the runtime has had a handler for
//     from the start is not ignored, whatever it was before: that is the case
//     for each whose default is to end the process, but for SIGHUP and SIGINT.
//   - Ignore ignores a signal; the runtime does not get to know, and gives a
//     program that is started from this one the default.
//   - SetDefault makes the kernel act on a signal, without a trace by the
//     runtime, as it prints for some.
package sigaction
