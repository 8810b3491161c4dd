package corral

import "sync"

// defaultTail is Tail.Limit if that is zero.
const defaultTail = 64 << 10

// Tail is an io.Writer that keeps the last bytes written to it. It is for output that
// goes on while somebody reads it now and then, such as that of what a Scope holds:
//
//	tail := &corral.Tail{Limit: 1 << 20}
//	cmd.Stdout, cmd.Stderr = tail, tail
//	…
//	news, lost, offset := tail.Since(offset)
//
// Write never fails and never waits for a reader. The methods may be called at the
// same time. A Tail must not be copied after the first use.
type Tail struct {
	// Limit is how many bytes are kept at most; zero or less is 64 KiB. It is read at
	// the first use, and later changes have no effect. Memory grows with what has been
	// written, up to Limit and never beyond.
	Limit int

	mu    sync.Mutex
	limit int    // Limit at the first use; 0 before that
	ring  []byte // a ring once it has limit bytes: then the oldest is at total%limit
	total int64  // how many bytes have been written
}

// use is called with mu held.
func (t *Tail) use() {
	if t.limit == 0 {
		if t.limit = t.Limit; t.limit <= 0 {
			t.limit = defaultTail
		}
	}
}

// Write keeps the end of p. It returns len(p), and no error.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.use()
	n := len(p)
	if over := n - t.limit; over > 0 {
		p = p[over:]
		t.total += int64(over)
	}
	if len(t.ring) < t.limit {
		t.grow(int(min(t.total+int64(len(p)), int64(t.limit))))
	}
	for len(p) > 0 {
		k := copy(t.ring[t.total%int64(t.limit):], p)
		p = p[k:]
		t.total += int64(k)
	}
	return n, nil
}

// grow makes the ring as long as that. Its capacity doubles, but never exceeds limit.
func (t *Tail) grow(size int) {
	if size > cap(t.ring) {
		bigger := make([]byte, size, min(max(size, 2*cap(t.ring)), t.limit))
		copy(bigger, t.ring)
		t.ring = bigger
	}
	t.ring = t.ring[:size]
}

// Since returns a copy of what has been written since offset, as far as it is kept;
// how many bytes before that are lost; and the offset to ask with next. Offsets count
// all bytes written; the first is 0. One that has not been reached yet is taken for the
// end.
func (t *Tail) Since(offset int64) (data []byte, lost, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.use()
	offset = min(max(offset, 0), t.total)
	from := max(offset, t.total-int64(len(t.ring)))
	data = make([]byte, 0, t.total-from)
	for at := from; at < t.total; {
		start := at % int64(t.limit)
		end := min(int64(len(t.ring)), start+t.total-at)
		data = append(data, t.ring[start:end]...)
		at += end - start
	}
	return data, from - offset, t.total
}

// Bytes returns a copy of all that is kept.
func (t *Tail) Bytes() []byte {
	data, _, _ := t.Since(0)
	return data
}

// String returns all that is kept.
func (t *Tail) String() string { return string(t.Bytes()) }
