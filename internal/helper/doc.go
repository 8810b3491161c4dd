// Package helper starts helper processes, and turns a process into one.
//
// A helper is the running program once more, in a role. It recognises the role
// before the program's main and before most of its init functions. So nothing has
// to be installed, and nothing can be missing when it is needed. The packages below
// internal/roles have the roles.
package helper
