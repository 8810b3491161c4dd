// Package cgroups holds runs in control groups of version 2 (Linux). It is the owner's
// side; what the guard does is in package roles/guard.
package cgroups
