// Package child looks at children of this process without reaping them, and reaps
// one.
package child
