// Package test is an example of tests that start processes and leave none.
package test
