// Package files asks pipes and terminals who has their other end, and what is in
// them.
package files
