// Package corraltest is for tests that start processes: nothing of them is left
// behind, and what they have left fails them.
//
// [Command] is for one command of one test, [NoLeaks] for all that the tests of a
// package start, by whatever means. Both hold however the test ends: when it
// passes or fails, when -timeout or a goroutine panics, on os.Exit, and when the
// test binary is killed with SIGKILL.
package corraltest
