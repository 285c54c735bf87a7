package buf

import "math/bits"

const (
	minClassBits = 9  // 512 B
	maxClassBits = 23 // 8 MiB
	classes      = maxClassBits - minClassBits + 1

	// MaxSlab is the largest pooled slab. Longer ones are allocated exactly and
	// left to the collector.
	MaxSlab = 1 << maxClassBits

	defaultRetainBytes = 16 << 20
)

// Pool hands out slabs. The zero value is ready to use. Loop-owned.
type Pool struct {
	// RetainBytes bounds the free bytes kept over all sizes; slabs put beyond
	// it are left to the collector. 0 means 16 MiB.
	RetainBytes int

	free      [classes][][]byte
	freeBytes int
	usedBytes int
	nodes     *Slab // free Slab headers, linked by next
	nodesFree int
	guard
}

// classOf returns the index of the smallest class of at least n bytes.
func classOf(n int) int {
	if n <= 1<<minClassBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minClassBits
}

// Get returns a slab of length 0 and capacity of at least n, not cleared. The
// caller owns it until Put. It allocates only when no free slab of that size
// is left.
func (p *Pool) Get(n int) []byte {
	if n > MaxSlab {
		p.usedBytes += n
		return make([]byte, 0, n)
	}
	k := classOf(n)
	size := 1 << (k + minClassBits)
	p.usedBytes += size
	stack := p.free[k]
	if len(stack) == 0 {
		return make([]byte, 0, size)
	}
	b := stack[len(stack)-1]
	stack[len(stack)-1] = nil
	p.free[k] = stack[:len(stack)-1]
	p.freeBytes -= size
	p.taken(b)
	return b[:0]
}

// Put gives back a slab that Get returned; b must start where that slab does
// (re-slice its end, never its front). The caller keeps no view of it.
func (p *Pool) Put(b []byte) {
	size := cap(b)
	p.usedBytes -= size
	if size > MaxSlab {
		return
	}
	k := classOf(size)
	if size != 1<<(k+minClassBits) {
		panic("buf: Put of a slice that is no slab")
	}
	retain := p.RetainBytes
	if retain == 0 {
		retain = defaultRetainBytes
	}
	p.given(b)
	if p.freeBytes+size > retain {
		p.dropped(b)
		return
	}
	p.freeBytes += size
	p.free[k] = append(p.free[k], b[:0])
}

// InUse returns the capacity in bytes of all slabs handed out and not put back.
func (p *Pool) InUse() int { return p.usedBytes }
