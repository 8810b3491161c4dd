// Package job holds runs in job objects (Windows).
package job
