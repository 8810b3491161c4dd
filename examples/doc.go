// Package examples has programs that use Corral, one in each directory below it.
package examples
