//go:build !race && !sluicedebug

package tunnel

import (
	"encoding/binary"
	"io"
	"testing"

	"golang.org/x/net/http2"
)

// frameOf is a frame's bytes.
func frameOf(typ http2.FrameType, flags http2.Flags, id uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), byte(typ), byte(flags)}
	return append(binary.BigEndian.AppendUint32(b, id), payload...)
}

// Bytes through a tunnel, either way, allocate nothing.
func TestBytesThroughATunnelAllocateNothing(t *testing.T) {
	f := open(t, "")
	x := f.dial("origin")
	s := f.accept()
	<-x.opened
	s.stream()
	s.answer(1, false)
	f.until("the tunnel", func() bool { return x.heard.Len() > 0 })
	go func() { _, _ = io.Copy(io.Discard, s.c) }()
	const size = 3000
	p := make([]byte, size)
	in := frameOf(http2.FrameData, 0, 1, p)
	more := binary.BigEndian.AppendUint32(nil, size)
	in = append(in, frameOf(http2.FrameWindowUpdate, 0, 0, more)...)
	in = append(in, frameOf(http2.FrameWindowUpdate, 0, 1, more)...)
	f.on(func() {
		x.quiet = true
		c := x.stream.c
		turn := func() {
			x.stream.Write(p, false)
			c.Run(nil)
			if n := c.OnData(nil, in); n != len(in) {
				t.Errorf("%d bytes of %d", n, len(in))
			}
		}
		for range 10 {
			turn()
		}
		if n := testing.AllocsPerRun(1000, turn); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if x.stream.Pending() > 0 {
			t.Errorf("%d bytes wait", x.stream.Pending())
		}
		x.stream.Close()
	})
}
