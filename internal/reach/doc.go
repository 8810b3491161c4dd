// Package reach lists and signals processes that fork and end meanwhile.
package reach
