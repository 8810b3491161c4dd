//go:build linux || darwin || freebsd || windows

package main

// key is a key: a byte that it sends, or one of those that follow.
type key int

const (
	keyInterrupt key = 0x03 // Ctrl-C
	keyRedraw    key = 0x0c // Ctrl-L
	keySuspend   key = 0x1a // Ctrl-Z
	keyEscape    key = 0x1b
	keyAbort     key = 0x1c // Ctrl-\

	keyUp key = 256 + iota
	keyDown
	keyHome
	keyEnd
	keyPageUp
	keyPageDown
	keyOther
)

// keyReader makes keys of what a terminal sends, in whatever pieces it comes.
type keyReader struct{ rest []byte }

// escapes are what the terminals send for the keys that have no character, after the
// escape.
var escapeKeys = map[string]key{
	"[A": keyUp, "OA": keyUp, "[B": keyDown, "OB": keyDown, "[H": keyHome, "OH": keyHome, "[F": keyEnd, "OF": keyEnd,
	"[1~": keyHome, "[7~": keyHome, "[4~": keyEnd, "[8~": keyEnd, "[5~": keyPageUp, "[6~": keyPageDown,
}

// longestEscape bounds what is waited for.
const longestEscape = 32

// keys returns the keys that are complete. An escape alone may be the beginning of
// another key: it is one when the next byte says so.
func (r *keyReader) keys(b []byte) (keys []key) {
	r.rest = append(r.rest, b...)
	for len(r.rest) > 0 {
		n, k := 1, key(r.rest[0])
		if k == keyEscape {
			if n, k = escaped(r.rest); n == 0 {
				return keys
			}
		}
		if k >= 0x80 && k < 256 {
			k = keyOther // of a letter that is none here
		}
		r.rest = r.rest[n:]
		keys = append(keys, k)
	}
	return keys
}

// escaped returns the key that b, which begins with an escape, begins with, and its
// length: 0 if it is not complete.
func escaped(b []byte) (n int, k key) {
	switch {
	case len(b) == 1:
		return 0, 0
	case b[1] != '[' && b[1] != 'O':
		return 1, keyEscape
	}
	for i := 2; i < min(len(b), longestEscape); i++ {
		if c := b[i]; c >= 0x40 && c <= 0x7e { // the end of a control sequence: ECMA-48
			if k, ok := escapeKeys[string(b[1:i+1])]; ok {
				return i + 1, k
			}
			return i + 1, keyOther
		}
	}
	if len(b) >= longestEscape {
		return longestEscape, keyOther
	}
	return 0, 0
}
