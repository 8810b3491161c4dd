//go:build linux || darwin || freebsd

package wire

func integers[T ~int32 | ~int64](c *coder, ps ...*T) {
	for _, p := range ps {
		integer(c, p)
	}
}

// option codes what p points to, if it points to anything.
func option[T any](c *coder, p **T, each func(*T)) {
	there := *p != nil
	c.flag(&there)
	if there && *p == nil {
		*p = new(T)
	}
	if there {
		each(*p)
	}
}
