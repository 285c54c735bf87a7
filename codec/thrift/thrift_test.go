package thrift

import (
	"encoding/binary"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/frame/frametest"
)

// framed puts a length before a message.
func framed(message string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(message)))) + message
}

func binaryMessage(kind byte, name string, seq uint32, rest string) string {
	b := append([]byte{0x80, 1, 0, kind}, binary.BigEndian.AppendUint32(nil, uint32(len(name)))...)
	return string(binary.BigEndian.AppendUint32(append(b, name...), seq)) + rest
}

func compactMessage(kind byte, name string, seq uint32, rest string) string {
	b := binary.AppendUvarint([]byte{0x82, kind<<5 | 1}, uint64(seq))
	return string(append(binary.AppendUvarint(b, uint64(len(name))), name...)) + rest
}

// headed puts a message into the header transport with info headers.
func headed(protocol byte, message string, pairs ...string) string {
	h := []byte{protocol, 0}
	if len(pairs) > 0 {
		h = append(h, 1, byte(len(pairs)/2))
		for _, p := range pairs {
			h = append(append(h, byte(len(p))), p...)
		}
	}
	for len(h)%4 != 0 {
		h = append(h, 0)
	}
	return "\x0f\xff\x00\x00\x00\x00\x00\x01" + string([]byte{0, byte(len(h) / 4)}) + string(h) + message
}

func run(c Codec, response bool) func() *frametest.Run {
	return func() *frametest.Run {
		d := c.NewRequestDecoder()
		if response {
			d = c.NewResponseDecoder()
		}
		return &frametest.Run{Decoder: d, Limit: maxHead}
	}
}

const whole = frame.Header | frame.End

func TestRequests(t *testing.T) {
	for _, tc := range []struct {
		name, bytes, host, method string
		id, note                  uint64
		flags                     frame.Flags
	}{
		{"binary", framed(binaryMessage(typeCall, "add", 7, "\x00")), "", "add", 7, 0, whole},
		{"compact", framed(compactMessage(typeCall, "add", 300, "\x00")), "", "add", 300, noteCompact, whole},
		{"multiplexed", framed(binaryMessage(typeCall, "Calc:add", 7, "\x00")), "Calc", "add", 7, 0, whole},
		{"one way", framed(binaryMessage(typeOneWay, "zip", 1<<31, "\x00")), "", "zip", 1 << 31, 0, whole | frame.OneWay},
		{"header", framed(headed(wireBinary, binaryMessage(typeCall, "add", 7, "\x00"), "k", "v")), "", "add", 7, noteHeader, whole},
		{"header, compact", framed(headed(wireCompact, compactMessage(typeCall, "add", 7, "\x00"))), "", "add", 7, noteHeader | noteCompact, whole},
	} {
		r, err := frametest.Whole(run(Codec{}, false), []byte(tc.bytes))
		if err != nil || len(r.Messages) != 1 {
			t.Errorf("%s: %v, %v", tc.name, r.Messages, err)
			continue
		}
		m := r.Messages[0]
		if m.Host != tc.host || m.Path != tc.host || m.Method != tc.method || m.ID != tc.id || m.Note != tc.note || m.Flags != tc.flags || m.Bytes != tc.bytes {
			t.Errorf("%s: %v", tc.name, m)
		}
		for _, sizes := range [][]int{{1}, {3, 5}, {11}} {
			if d := frametest.Cuts(run(Codec{}, false), []byte(tc.bytes+tc.bytes), sizes); d != "" {
				t.Errorf("%s: %s", tc.name, d)
			}
		}
	}
}

func TestResponses(t *testing.T) {
	data := framed(binaryMessage(typeReply, "add", 7, "\x00")) + framed(compactMessage(typeException, "add", 8, "\x00"))
	r, err := frametest.Whole(run(Codec{}, true), []byte(data))
	if err != nil || len(r.Messages) != 2 || r.Messages[0].Failed || r.Messages[0].ID != 7 || !r.Messages[1].Failed || r.Messages[1].Code != 1 || r.Messages[1].ID != 8 {
		t.Errorf("%v, %v", r.Messages, err)
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		codec    Codec
		response bool
		bytes    string
		want     error
	}{
		{Codec{}, false, "\x00\x00\x00\x00", errFrame},
		{Codec{}, false, "\x01\x00\x00\x01", errFrame},
		{Codec{}, false, framed("GET / HTTP"), errProtocol},
		{Codec{}, false, framed("\x80\x01\x00"), errShort},
		{Codec{}, false, framed(binaryMessage(typeReply, "a", 1, "")), errType},
		{Codec{}, true, framed(binaryMessage(typeCall, "a", 1, "")), errType},
		{Codec{}, false, framed("\x80\x01\x00\x01\x00\x01\x00\x00"), errName},
		{Codec{}, false, framed("\x82\x21\xff\xff\xff\xff\xff\x01"), errHeader},
		{Codec{}, false, framed("\x82\x21\x01\xff\xff\xff\xff\xff"), errName},
		{Codec{Only: Binary}, false, framed(compactMessage(typeCall, "a", 1, "")), errProtocol},
		{Codec{Only: Compact}, false, framed(binaryMessage(typeCall, "a", 1, "")), errProtocol},
		{Codec{}, false, framed("\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x01\x00\x01\x01\x00xx"), errTransform},
		{Codec{}, false, framed("\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x01\x07\x00\x00\x00xx"), errProtocol},
		{Codec{}, false, framed("\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x00xx"), errHeader},
	} {
		if r, err := frametest.Whole(run(tc.codec, tc.response), []byte(tc.bytes)); err != tc.want {
			t.Errorf("%q: %v, %v; want %v", tc.bytes, r.Messages, err, tc.want)
		}
		if d := frametest.Cuts(run(tc.codec, tc.response), []byte(tc.bytes), []int{1}); d != "" {
			t.Errorf("%q: %s", tc.bytes, d)
		}
	}
}

func TestReplyIsReadable(t *testing.T) {
	for note := range uint64(4) {
		b, code := Codec{}.AppendReply(nil, &frame.Frame{ID: 9, Note: note, Method: []byte("add")}, frame.Unavailable, "no_healthy_upstream")
		r, err := frametest.Whole(run(Codec{}, true), b)
		if err != nil || code != 1 || len(r.Messages) != 1 || !r.Messages[0].Failed || r.Messages[0].ID != 9 || r.Messages[0].Flags != whole {
			t.Errorf("%d: %v, %v", note, r.Messages, err)
		}
	}
}

func TestProperties(t *testing.T) {
	head := []byte(framed(headed(wireBinary, binaryMessage(typeCall, "add", 7, "\x00"), "a", "1", "b", "2")))
	if v, ok := (Codec{}).Property(head, false, "b"); !ok || string(v) != "2" {
		t.Errorf("%q %t", v, ok)
	}
	if _, ok := (Codec{}).Property(head, false, "c"); ok {
		t.Error("there is no c")
	}
	if _, ok := (Codec{}).Property([]byte(framed(binaryMessage(typeCall, "add", 7, "\x00"))), false, "a"); ok {
		t.Error("framed messages have no infos")
	}
	n := 0
	(Codec{}).VisitProperties(head, false, func(_, _ []byte) bool { n++; return true })
	if n != 2 {
		t.Errorf("%d", n)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(framed(binaryMessage(typeCall, "S:add", 7, "\x00"))), false, byte(1), byte(2))
	f.Add([]byte(framed(headed(wireCompact, compactMessage(typeReply, "add", 7, "\x00"), "k", "v"))), true, byte(3), byte(9))
	f.Fuzz(func(t *testing.T, data []byte, response bool, a, b byte) {
		if d := frametest.Cuts(run(Codec{}, response), data, []int{1 + int(a), 1 + int(b)}); d != "" {
			t.Fatal(d)
		}
		r, err := frametest.Whole(run(Codec{}, response), data)
		if d := r.Wires(data); err == nil && d != "" {
			t.Fatal(d)
		}
		for _, m := range r.Messages {
			Codec{}.VisitProperties([]byte(m.Wire), response, func(_, _ []byte) bool { return true })
		}
	})
}

func TestAllocMessage(t *testing.T) {
	d, data := Codec{}.NewRequestDecoder(), []byte(framed(headed(wireBinary, binaryMessage(typeCall, "S:add", 7, "\x00"), "k", "v")))
	var f frame.Frame
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(1000, func() {
		f = frame.Frame{}
		if n, err := d.Next(data, &f); n != len(data) || err != nil {
			panic(err)
		}
		buf, _ = Codec{}.AppendReply(buf[:0], &f, frame.NotFound, "route_not_found")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
