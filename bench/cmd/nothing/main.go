// Command nothing is the least that a program written in Go can do.
package main

func main() {}
