//go:build !unix && !windows

package escape

func pgid() int { return 0 }

func isBrokenPipe(error) bool { return false }
