// Package cgroups holds runs in control groups of version 2 (Linux). It is the
// owner's side; package roles/guard is the guard's.
package cgroups
