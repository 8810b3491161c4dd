// Package helper starts helper processes, and is how a process becomes one.
//
// A helper is the running program once more, started in a role that it recognises
// before the program's main, and before most of its init functions: nothing has to
// be installed, and nothing can be missing when it is needed. The packages below
// internal/roles have the roles.
package helper
