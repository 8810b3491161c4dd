// Package console sends events to the processes of a Windows console. It is empty
// on other systems.
package console
