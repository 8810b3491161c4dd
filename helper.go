package corral

// HelperPath is the program that the keeper and the guard are started from, if
// it is not empty: one that imports this package, of the same version. It is to
// be set before the first run.
//
// By default it is the running program, which is right unless that is not a Go
// program, such as one that has loaded this package as a shared library.
var HelperPath string
