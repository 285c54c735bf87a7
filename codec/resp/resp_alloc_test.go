package resp

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
)

var f frame.Frame

func pump(d frame.Decoder, b []byte) (messages int) {
	for len(b) > 0 {
		f = frame.Frame{Awaited: true}
		n, err := d.Next(b, &f)
		if err != nil || n == 0 {
			panic(err)
		}
		if f.Flags.Has(frame.End) {
			messages++
		}
		b = b[n:]
	}
	return messages
}

var (
	aRequest = []byte(request("SET", "key:000000000001", "xxx"))
	aReply   = []byte("$3\r\nxxx\r\n")
)

func TestAllocRequestAndReply(t *testing.T) {
	in, out := Codec{}.NewRequestDecoder(), Codec{}.NewResponseDecoder()
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(1000, func() {
		if pump(in, aRequest)+pump(out, aReply) != 2 {
			panic("not two messages")
		}
		buf, _ = Codec{}.AppendReply(buf[:0], nil, frame.NotFound, "route_not_found")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	d := Codec{}.NewRequestDecoder()
	b.SetBytes(int64(len(aRequest)))
	for b.Loop() {
		pump(d, aRequest)
	}
}

func BenchmarkReply(b *testing.B) {
	d := Codec{}.NewResponseDecoder()
	b.SetBytes(int64(len(aReply)))
	for b.Loop() {
		pump(d, aReply)
	}
}
