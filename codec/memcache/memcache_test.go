package memcache

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/frame/frametest"
)

func packet(magic, op byte, status uint16, opaque uint32, extras, key, value string) string {
	b := []byte{magic, op, 0, byte(len(key)), byte(len(extras)), 0}
	b = binary.BigEndian.AppendUint16(b, status)
	b = binary.BigEndian.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = binary.BigEndian.AppendUint32(b, opaque)
	return string(append(b, 0, 0, 0, 0, 0, 0, 0, 0)) + extras + key + value
}

func request(op byte, opaque uint32, extras, key, value string) string {
	return packet(magicRequest, op, 0, opaque, extras, key, value)
}

func response(op byte, status uint16, opaque uint32, key, value string) string {
	return packet(magicResponse, op, status, opaque, "", key, value)
}

func run(answers bool) func() *frametest.Run {
	return func() *frametest.Run {
		d := Codec{}.NewRequestDecoder()
		if answers {
			d = Codec{}.NewResponseDecoder()
		}
		return &frametest.Run{Decoder: d, Limit: maxBuffered}
	}
}

const whole = frame.Header | frame.End

func TestRequests(t *testing.T) {
	for _, tc := range []struct {
		bytes, method, path string
		id                  uint64
		flags               frame.Flags
	}{
		{request(0x00, 5, "", "k", ""), "Get", "k", 5, whole},
		{request(0x01, 6, "\x00\x00\x00\x00\x00\x00\x00\x00", "k", strings.Repeat("v", 5000)), "Set", "k", 6, whole},
		{request(0x0a, 7, "", "", ""), "Noop", "", 7, whole},
		{request(0x09, 8, "", "k", ""), "GetQ", "k", 8, whole | frame.OneWay | frame.Sticky},
		{request(0x07, 9, "", "", ""), "Quit", "", 9, whole | frame.Sticky},
		{request(0x21, 9, "", "PLAIN", "x"), "SASLAuth", "PLAIN", 9, whole | frame.Sticky},
		{request(0xf0, 9, "", "", ""), "Unknown", "", 9, whole},
	} {
		r, err := frametest.Whole(run(false), []byte(tc.bytes))
		if err != nil || len(r.Messages) != 1 {
			t.Errorf("%s: %v, %v", tc.method, r.Messages, err)
			continue
		}
		if m := r.Messages[0]; m.Method != tc.method || m.Path != tc.path || m.ID != tc.id || m.Flags != tc.flags || m.Bytes != tc.bytes {
			t.Errorf("%s: %v", tc.method, m)
		}
		for _, sizes := range [][]int{{1}, {7}, {24}, {25, 3}} {
			if d := frametest.Cuts(run(false), []byte(tc.bytes+tc.bytes), sizes); d != "" {
				t.Errorf("%s: %s", tc.method, d)
			}
		}
	}
}

// The packets that answer a Stat are one message; what answers a quiet request is a push.
func TestResponses(t *testing.T) {
	parts := []string{
		response(0x00, 0, 1, "", "value"), response(0x00, 1, 2, "", "Not found"),
		response(opStat, 0, 3, "pid", "1") + response(opStat, 0, 3, "up", "2") + response(opStat, 0, 3, "", ""),
		response(0x09, 0, 4, "", "hit"), response(opStat, 1, 5, "", "no"), response(opQuit, 0, 6, "", ""),
	}
	all := []byte(strings.Join(parts, ""))
	r, err := frametest.Whole(run(true), all)
	if err != nil || len(r.Messages) != len(parts) {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	flags := []frame.Flags{whole, whole, whole, whole | frame.Push, whole, whole | frame.Close}
	codes := []uint16{0, 1, 0, 0, 1, 0}
	for i, m := range r.Messages {
		if m.Bytes != parts[i] || m.Flags != flags[i] || m.Code != codes[i] || m.Failed != (codes[i] != 0) {
			t.Errorf("%d: %v", i, m)
		}
	}
	for _, sizes := range [][]int{{1}, {5, 31}} {
		if d := frametest.Cuts(run(true), all, sizes); d != "" {
			t.Error(d)
		}
	}
}

func TestErrors(t *testing.T) {
	long := []byte(request(0, 1, "", "k", ""))
	long[2] = 1
	short := []byte(request(0, 1, "", "k", ""))
	short[11] = 0
	typed := []byte(request(0, 1, "", "k", ""))
	typed[5] = 1
	for _, tc := range []struct {
		answers bool
		bytes   string
		want    error
	}{
		{false, "get k\r\n", errMagic},
		{true, request(0, 1, "", "k", ""), errMagic},
		{false, string(long), errKey},
		{false, string(short), errBody},
		{false, string(typed), errType},
	} {
		if r, err := frametest.Whole(run(tc.answers), []byte(tc.bytes)); err != tc.want {
			t.Errorf("%q: %v, %v; want %v", tc.bytes, r.Messages, err, tc.want)
		}
	}
}

func TestReplyIsReadable(t *testing.T) {
	for s := frame.NotFound; s <= frame.Internal; s++ {
		b, code := Codec{}.AppendReply(nil, &frame.Frame{ID: 9, Note: 1}, s, "timeout")
		r, err := frametest.Whole(run(true), b)
		if err != nil || len(r.Messages) != 1 || r.Messages[0].Code != code || !r.Messages[0].Failed || r.Messages[0].ID != 9 || !strings.HasSuffix(r.Messages[0].Bytes, "timeout") {
			t.Errorf("%v: %v, %v", s, r.Messages, err)
		}
	}
}

func FuzzPackets(f *testing.F) {
	f.Add([]byte(request(0x01, 6, "12345678", "k", "value")), false, byte(1), byte(2))
	f.Add([]byte(response(opStat, 0, 3, "pid", "1")+response(opStat, 0, 3, "", "")), true, byte(3), byte(30))
	f.Fuzz(func(t *testing.T, data []byte, answers bool, a, b byte) {
		if d := frametest.Cuts(run(answers), data, []int{1 + int(a), 1 + int(b)}); d != "" {
			t.Fatal(d)
		}
		r, err := frametest.Whole(run(answers), data)
		if d := r.Wires(data); err == nil && d != "" {
			t.Fatal(d)
		}
	})
}

func TestAllocPacket(t *testing.T) {
	in, out := Codec{}.NewRequestDecoder(), Codec{}.NewResponseDecoder()
	rq, rs := []byte(request(0x01, 6, "12345678", "k", "value")), []byte(response(1, 0, 6, "", ""))
	var f frame.Frame
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(1000, func() {
		f = frame.Frame{}
		n, _ := in.Next(rq, &f)
		buf, _ = Codec{}.AppendReply(buf[:0], &f, frame.NotFound, "route_not_found")
		f = frame.Frame{}
		m, _ := out.Next(rs, &f)
		if n != len(rq) || m != len(rs) {
			panic("not whole")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
