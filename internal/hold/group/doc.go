// Package group holds runs in process groups.
package group
