// Package mailbox carries messages from any goroutine to one loop.
//
// A Ring is a bounded queue of many producers and one consumer: an array of
// cells, each with a sequence number that says whose turn it is.
//
//	cell.seq == pos          free, for the producer that claims pos
//	cell.seq == pos+1        filled, for the consumer at pos
//	after taking             cell.seq = pos+len, free for the next lap
//
// Posting does not block and, for a pointer-shaped Message, does not allocate.
package mailbox

import "sync/atomic"

// Message is work for the loop; Run is called on it.
type Message interface{ Run() }

type cell struct {
	seq atomic.Uint64
	msg Message
}

// Ring is the queue. Make it with New.
type Ring struct {
	cells []cell
	mask  uint64
	_     [64]byte // keep producers' and consumer's positions on separate lines
	tail  atomic.Uint64
	_     [64]byte
	head  uint64 // consumer only
}

// New returns a ring for at least capacity messages (rounded up to a power of two).
func New(capacity int) *Ring {
	n := 2
	for n < capacity {
		n <<= 1
	}
	r := &Ring{cells: make([]cell, n), mask: uint64(n - 1)}
	for i := range r.cells {
		r.cells[i].seq.Store(uint64(i))
	}
	return r
}

// Put queues m; false when the ring is full. Any goroutine; never blocks.
// Messages of one goroutine are taken in the order it put them.
func (r *Ring) Put(m Message) bool {
	for {
		pos := r.tail.Load()
		c := &r.cells[pos&r.mask]
		switch seq := c.seq.Load(); {
		case seq == pos:
			if r.tail.CompareAndSwap(pos, pos+1) {
				c.msg = m
				c.seq.Store(pos + 1)
				return true
			}
		case seq < pos:
			return false // the consumer has not been here since the last lap
		}
	}
}

// Take returns the oldest message, nil when there is none (or its producer has
// not finished putting it: the wake-up that follows a Put comes after it).
// Consumer only.
func (r *Ring) Take() Message {
	c := &r.cells[r.head&r.mask]
	if c.seq.Load() != r.head+1 {
		return nil
	}
	m := c.msg
	c.msg = nil
	c.seq.Store(r.head + uint64(len(r.cells)))
	r.head++
	return m
}

// Cap returns how many messages the ring can hold.
func (r *Ring) Cap() int { return len(r.cells) }
