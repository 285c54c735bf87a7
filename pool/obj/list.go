package obj

// chunkLen is how many objects one allocation makes: it amortises the allocator.
const chunkLen = 64

// defaultLimit bounds the free objects a list keeps when Limit is zero.
const defaultLimit = 4096

// List is a free list of T. The zero value is ready to use. Loop-owned.
//
// Objects come back as they were put: the owner resets what it must, next to
// the fields (style: reset stands beside the struct).
type List[T any] struct {
	// Limit is the most free objects the list keeps; what is put beyond it is
	// left to the collector. 0 means 4096.
	Limit int

	free []*T
	guard[T]
}

// Get returns a free object, or one of a new chunk. It is zero only the first
// time it is handed out. No allocation while the list is not empty.
func (l *List[T]) Get() *T {
	if len(l.free) == 0 {
		l.grow()
	}
	n := len(l.free) - 1
	t := l.free[n]
	l.free[n] = nil
	l.free = l.free[:n]
	l.taken(t)
	return t
}

// Put gives t back. The caller keeps no pointer to it.
func (l *List[T]) Put(t *T) {
	l.given(t)
	limit := l.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	if len(l.free) >= limit {
		l.dropped(t)
		return
	}
	l.free = append(l.free, t)
}

func (l *List[T]) grow() {
	chunk := make([]T, chunkLen)
	for i := range chunk {
		l.free = append(l.free, &chunk[i])
	}
}
