package bare

// threadArea is 0: the address of the goroutine is in a register throughout, or in
// memory that is not the heap's if there is code in C.
//
//go:norace
//go:nocheckptr
func threadArea() uintptr { return 0 }
