package buf

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestChainAgreesWithOneSlice appends, peeks and consumes at random against a
// plain byte slice.
func TestChainAgreesWithOneSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Pool
		var c Chain
		c.Init(&p)
		var model []byte
		stamp := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := rapid.SampledFrom([]int{0, 1, 500, 1023, 1024, 1025, 5000, 70_000, 200_000}).Draw(t, "n")
				b := make([]byte, n)
				for i := range b {
					stamp++
					b[i] = stamp
				}
				c.Append(b)
				model = append(model, b...)
				clear(b) // the chain has its own copy
			},
			"consume": func(t *rapid.T) {
				n := rapid.IntRange(0, len(model)).Draw(t, "n")
				c.Consume(n)
				model = model[n:]
			},
			"release": func(*rapid.T) {
				c.Release()
				model = nil
			},
			"": func(t *rapid.T) {
				if c.Len() != len(model) {
					t.Fatalf("Len %d, want %d", c.Len(), len(model))
				}
				pieces := make([][]byte, 64)
				got := bytes.Join(pieces[:c.Peek(pieces)], nil)
				if !bytes.HasPrefix(model, got) || len(got) < min(len(model), 60*1024) {
					t.Fatalf("peeked %d bytes of %d, or others", len(got), len(model))
				}
				if len(model) == 0 && p.InUse() != 0 {
					t.Fatalf("an empty chain holds %d bytes", p.InUse())
				}
				if p.InUse() > 2*len(model)+2*maxChainSlab {
					t.Fatalf("%d bytes take %d", len(model), p.InUse())
				}
			},
		})
	})
}

func TestSlabSizes(t *testing.T) {
	var p Pool
	for _, tc := range []struct{ asked, want int }{
		{0, 512}, {1, 512}, {512, 512}, {513, 1024}, {4096, 4096}, {4097, 8192}, {MaxSlab, MaxSlab}, {MaxSlab + 1, MaxSlab + 1},
	} {
		b := p.Get(tc.asked)
		if len(b) != 0 || cap(b) != tc.want || p.InUse() != tc.want {
			t.Errorf("Get(%d): length %d, capacity %d, in use %d; want 0, %d, %[5]d", tc.asked, len(b), cap(b), p.InUse(), tc.want)
		}
		p.Put(b[:1])
		if p.InUse() != 0 {
			t.Errorf("%d in use after Put", p.InUse())
		}
	}
}

func TestPoolKeepsNoMoreThanItsBound(t *testing.T) {
	p := Pool{RetainBytes: 10_000}
	var out [][]byte
	for range 20 {
		out = append(out, p.Get(1024))
	}
	for _, b := range out {
		p.Put(b)
	}
	if p.freeBytes != 9*1024 || p.InUse() != 0 {
		t.Errorf("retained %d, in use %d", p.freeBytes, p.InUse())
	}
}

func TestPutOfAForeignSlicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var p Pool
	p.Put(make([]byte, 0, 700))
}

func TestFit(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		cap, fill, spent, more int
		wantCap                int
	}{
		{"enough room stays", 4096, 1000, 0, 3000, 4096},
		{"room at the front is used by moving", 4096, 4000, 2000, 2000, 4096},
		{"too little room grows", 4096, 4000, 0, 1000, 8192},
		{"a slab far too big shrinks", 64 << 10, 1000, 0, 0, 1024},
		{"the smallest slab stays", 512, 10, 0, 0, 512},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p Pool
			s := p.Slab(tc.cap)
			for i := range tc.fill {
				s.Append([]byte{byte(i)})
			}
			s.Read(tc.spent)
			want := bytes.Clone(s.Bytes())
			s = p.Fit(s, tc.more)
			if s.Cap() != tc.wantCap || len(s.Room()) < tc.more || !bytes.Equal(s.Bytes(), want) {
				t.Errorf("capacity %d, room %d, same bytes %v; want %d, at least %d, true",
					s.Cap(), len(s.Room()), bytes.Equal(s.Bytes(), want), tc.wantCap, tc.more)
			}
			p.PutSlab(s)
			if p.InUse() != 0 {
				t.Errorf("%d in use after all", p.InUse())
			}
		})
	}
}
