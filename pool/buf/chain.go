package buf

const (
	minChainSlab = 1 << 10
	maxChainSlab = 64 << 10
)

// Chain is a queue of bytes held in slabs. Init it with its pool first.
// Loop-owned. An empty chain holds no slab.
type Chain struct {
	n          int // first, to share a cache line with what its owner looks at
	head, tail *Slab
	pool       *Pool
}

// Init binds an empty chain to the pool its slabs come from.
func (c *Chain) Init(p *Pool) { c.pool = p }

// Len returns the bytes queued.
func (c *Chain) Len() int { return c.n }

// Append copies b to the end. It always accepts: the owner compares Len with
// its limit. Slabs are sized by what is left to store, 1 KiB to 64 KiB.
func (c *Chain) Append(b []byte) {
	c.n += len(b)
	if c.tail != nil {
		b = b[c.tail.Append(b):]
	}
	for len(b) > 0 {
		s := c.pool.Slab(min(max(len(b), minChainSlab), maxChainSlab))
		b = b[s.Append(b):]
		if c.tail == nil {
			c.head = s
		} else {
			c.tail.next = s
		}
		c.tail = s
	}
}

// Peek fills dst with views of the front of the queue, for one gather write,
// and returns how many it set. They are valid until Consume, Append or Release.
func (c *Chain) Peek(dst [][]byte) int {
	i := 0
	for s := c.head; s != nil && i < len(dst); s = s.next {
		dst[i] = s.Bytes()
		i++
	}
	return i
}

// CopyTo writes the whole queue to w, piece by piece, and keeps it.
func (c *Chain) CopyTo(w interface{ Write(p []byte) }) {
	for s := c.head; s != nil; s = s.next {
		w.Write(s.Bytes())
	}
}

// Consume drops the first n bytes, n <= Len, and frees the slabs they filled.
func (c *Chain) Consume(n int) {
	c.n -= n
	for n > 0 {
		s := c.head
		if k := s.Len(); n < k {
			s.Read(n)
			return
		} else {
			n -= k
		}
		c.head = s.next
		if c.head == nil {
			c.tail = nil
		}
		s.next = nil
		c.pool.PutSlab(s)
	}
}

// Release drops everything. The chain is empty and usable after.
func (c *Chain) Release() {
	for s := c.head; s != nil; {
		next := s.next
		s.next = nil
		c.pool.PutSlab(s)
		s = next
	}
	c.head, c.tail, c.n = nil, nil, 0
}
