// Package console has what Windows offers to send events to the processes of a
// console; it is empty on other systems.
package console
