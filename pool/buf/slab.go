package buf

// Slab is one slab with a read and a write position.
//
//	0        r            w        cap
//	| spent  | Bytes()    | Room() |
//
// Loop-owned; made by Pool.Slab, ended by Pool.PutSlab.
type Slab struct {
	next *Slab
	mem  []byte
	r, w int
}

const maxFreeNodes = 4096

// Slab returns an empty slab with room for at least n bytes.
func (p *Pool) Slab(n int) *Slab {
	s := p.nodes
	if s == nil {
		s = new(Slab)
	} else {
		p.nodes = s.next
		p.nodesFree--
		s.next = nil
	}
	b := p.Get(n)
	s.mem = b[:cap(b)]
	s.r, s.w = 0, 0
	return s
}

// PutSlab ends s and gives its bytes back. nil does nothing.
func (p *Pool) PutSlab(s *Slab) {
	if s == nil {
		return
	}
	p.Put(s.mem)
	s.mem = nil
	if p.nodesFree >= maxFreeNodes {
		return
	}
	s.next = p.nodes
	p.nodes = s
	p.nodesFree++
}

// Bytes returns the unread bytes; valid until the slab is changed or ended.
func (s *Slab) Bytes() []byte { return s.mem[s.r:s.w] }

// Room returns the free space after the unread bytes.
func (s *Slab) Room() []byte { return s.mem[s.w:] }

// Len returns the number of unread bytes.
func (s *Slab) Len() int { return s.w - s.r }

// Cap returns the size of the slab.
func (s *Slab) Cap() int { return len(s.mem) }

// Wrote says that n bytes of Room were filled.
func (s *Slab) Wrote(n int) { s.w += n }

// Read says that the first n unread bytes are spent.
func (s *Slab) Read(n int) { s.r += n }

// Append copies as much of b as there is room for and returns how much.
func (s *Slab) Append(b []byte) int {
	n := copy(s.mem[s.w:], b)
	s.w += n
	return n
}

// Fit returns a slab with the same unread bytes at its front and room for
// at least n bytes after them: s itself when it can be that, else another one
// (s is then ended). A slab at least four times too big is exchanged as well,
// so a connection that once kept much does not hold on to it.
func (p *Pool) Fit(s *Slab, n int) *Slab {
	need := s.Len() + n
	if len(s.mem) >= need && (len(s.mem) <= 1<<minClassBits || len(s.mem) < 4*need) {
		if len(s.mem)-s.w < n {
			s.w = copy(s.mem, s.mem[s.r:s.w])
			s.r = 0
		}
		return s
	}
	to := p.Slab(need)
	to.Append(s.Bytes())
	p.PutSlab(s)
	return to
}
