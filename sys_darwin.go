package corral

const maxrssUnit = 1 // getrusage(2) of macOS counts bytes
