// Package reach gets at processes that fork and end while somebody looks at them.
package reach
