//go:build !linux

package corral

func burySiblings(containment) {} // there is no clone(2)
