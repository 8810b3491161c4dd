// Package pgroup addresses process groups: it signals a group, lists it and
// waits for it to be empty, and is never mistaken about which group that is.
//
// A process group is known to kill(2) by a number only, which is the PID its
// first leader had. The number stays taken while the leader has not been reaped
// or any member is left, and is then free for a process that has nothing to do
// with it. A [Group] is one group and none that gets its number later.
package pgroup
