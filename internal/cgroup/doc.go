// Package cgroup holds processes together by a Linux control group, version 2:
// whatever a member starts is a member too, whatever it does, unless somebody
// who may write to the hierarchy moves it.
//
// Other systems have nothing like it: there the package has only the parsers.
//
// The kernel's side is described in Documentation/admin-guide/cgroup-v2.rst.
package cgroup
