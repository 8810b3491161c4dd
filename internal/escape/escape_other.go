//go:build !unix

package escape

func pgid() int { return 0 }

func isBrokenPipe(error) bool { return false }

func closeOnExec(int) {}
