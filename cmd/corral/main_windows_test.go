package main

// succeed is a command that does nothing.
var succeed = []string{"cmd", "/c", "exit"}
