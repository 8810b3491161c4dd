// Package holders finds the processes that have a pipe or a terminal open.
package holders
