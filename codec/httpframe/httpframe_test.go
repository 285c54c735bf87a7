package httpframe

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/frame/frametest"
	"github.com/sluiceproxy/sluice/codec/header"
)

const whole = frame.Header | frame.End

func run(single, response bool, notes ...uint64) func() *frametest.Run {
	return func() *frametest.Run {
		c := New(single, 1<<16)
		d := c.NewRequestDecoder()
		r := &frametest.Run{Limit: c.MaxBuffered()}
		if response {
			d = c.NewResponseDecoder()
			r.Due = func(i int) (uint64, bool) {
				if i < len(notes) {
					return notes[i], true
				}
				return uint64(header.MethodGet), true
			}
		}
		r.Decoder = d
		return r
	}
}

func TestRequests(t *testing.T) {
	for _, tc := range []struct{ in, single, streaming string }{
		{"GET /a HTTP/1.1\r\nHost: h\r\nX: y\r\nConnection: keep-alive\r\n\r\n", "GET /a HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n", ""},
		{"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello", ""},
		{
			"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: t\r\n\r\n",
			"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nhello!", "POST /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
		},
	} {
		for _, single := range []bool{true, false} {
			want := tc.single
			if !single && tc.streaming != "" {
				want = tc.streaming
			}
			r, err := frametest.Whole(run(single, false), []byte(tc.in+tc.in))
			if err != nil || len(r.Messages) != 2 || r.Messages[1].Bytes != want || r.Messages[0].Flags != whole || r.Messages[0].Host != "h" || r.Messages[0].Path != "/a" {
				t.Errorf("%t %q: %v, %v", single, tc.in, r.Messages, err)
				continue
			}
			if !single && tc.streaming != "" {
				continue // chunks are cut where reads were
			}
			for _, sizes := range [][]int{{1}, {7, 3}, {64}} {
				if d := frametest.Cuts(run(single, false), []byte(tc.in+tc.in), sizes); d != "" {
					t.Errorf("%t %q: %s", single, tc.in, d)
				}
			}
		}
	}
}

func TestResponses(t *testing.T) {
	get, head := uint64(header.MethodGet), uint64(header.MethodHead)
	for _, tc := range []struct {
		name, in string
		note     uint64
		want     string
		code     uint16
		flags    frame.Flags
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", get, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, whole},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", head, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", 200, whole},
		{"chunked", "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", get, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno", 503, whole},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", get, "HTTP/1.1 204 No Content\r\n\r\n", 204, whole},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", get, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 200, whole | frame.Close},
		{"asked to close", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get | noteClose, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 200, whole | frame.Close},
	} {
		r, err := frametest.Whole(run(true, true, tc.note), []byte(tc.in))
		n := len(r.Messages)
		if err != nil || n == 0 {
			t.Errorf("%s: %v, %v", tc.name, r.Messages, err)
			continue
		}
		m := r.Messages[n-1]
		if sameHead(m.Bytes) != sameHead(tc.want) || m.Code != tc.code || m.Flags != tc.flags || m.Failed != (tc.code >= 500) {
			t.Errorf("%s: %v", tc.name, m)
		}
		if d := frametest.Cuts(run(true, true, tc.note), []byte(tc.in), []int{1}); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// sameHead puts the fields of a head in order.
func sameHead(s string) string {
	head, body, _ := strings.Cut(s, "\r\n\r\n")
	fields := strings.Split(head, "\r\n")
	rest := fields[1:]
	for i := range rest {
		for j := range rest[:i] {
			if rest[i] < rest[j] {
				rest[i], rest[j] = rest[j], rest[i]
			}
		}
	}
	return fmt.Sprint(fields) + body
}

func TestUntilClose(t *testing.T) {
	for _, single := range []bool{true, false} {
		r, err := frametest.Whole(run(single, true), []byte("HTTP/1.1 200 OK\r\n\r\nbody"))
		if err == nil {
			err = r.Finish()
		}
		want := "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"
		if !single {
			want = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
		}
		if err != nil || len(r.Messages) != 1 || !r.Messages[0].Flags.Has(whole|frame.Close) {
			t.Fatalf("%t: %v, %v", single, r.Messages, err)
		}
		if got := strings.Replace(r.Messages[0].Bytes, "connection: close\r\n", "", 1); got != want {
			t.Errorf("%t: %q", single, got)
		}
	}
	r, _ := frametest.Whole(run(true, true), []byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody"))
	if err := r.Finish(); err == nil {
		t.Error("half a body is taken for a whole one")
	}
}

func TestExpect(t *testing.T) {
	r, err := frametest.Whole(run(true, false), []byte("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok"))
	if err != nil || len(r.Messages) != 2 || r.Messages[0].Flags != frame.Answer || r.Messages[0].Reply != "HTTP/1.1 100 Continue\r\n\r\n" ||
		strings.Contains(r.Messages[1].Bytes, "xpect") {
		t.Errorf("%v, %v", r.Messages, err)
	}
}

func TestErrors(t *testing.T) {
	for _, in := range []string{
		"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n" + strings.Repeat("x", 65537) + "\r\n0\r\n\r\n",
	} {
		if r, err := frametest.Whole(run(true, false), []byte(in)); err == nil {
			t.Errorf("%.60q: %v", in, r.Messages)
		}
	}
	if r, err := frametest.Whole(run(true, true), []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")); err == nil {
		t.Errorf("%v", r.Messages)
	}
}

func TestReplyIsReadable(t *testing.T) {
	c := New(true, 1<<16)
	for s := frame.NotFound; s <= frame.Internal; s++ {
		b, code := c.AppendReply(nil, &frame.Frame{Note: uint64(header.MethodGet)}, s, "timeout")
		r, err := frametest.Whole(run(true, true), b)
		if err != nil || len(r.Messages) != 1 || r.Messages[0].Code != code || r.Messages[0].Flags != whole || !strings.Contains(string(b), "reason: timeout\r\n") {
			t.Errorf("%v: %v, %v", s, r.Messages, err)
		}
	}
}

func TestProperties(t *testing.T) {
	c := New(true, 1<<16)
	head := []byte("GET / HTTP/1.1\r\nhost: h\r\nx-a: 1\r\nX-B:  2 \r\n\r\nx-c: body\r\n")
	if v, ok := c.Property(head, false, "x-b"); !ok || string(v) != "2" {
		t.Errorf("%q %t", v, ok)
	}
	if _, ok := c.Property(head, false, "x-c"); ok {
		t.Error("the body is no field")
	}
	out, ok := c.AppendEdited(nil, head, false, "X-A", []byte("3"), false)
	if want := "GET / HTTP/1.1\r\nhost: h\r\nX-B:  2 \r\nX-A: 3\r\n\r\nx-c: body\r\n"; !ok || string(out) != want {
		t.Errorf("%q %t", out, ok)
	}
	if out, ok := c.AppendEdited(nil, head, false, "x-b", nil, true); !ok || string(out) != "GET / HTTP/1.1\r\nhost: h\r\nx-a: 1\r\n\r\nx-c: body\r\n" {
		t.Errorf("%q %t", out, ok)
	}
	for _, bad := range []string{"content-length", "Host", "a b", ""} {
		if _, ok := c.AppendEdited(nil, head, false, bad, []byte("x"), false); ok {
			t.Errorf("%q can be set", bad)
		}
	}
	if _, ok := c.AppendEdited(nil, head, false, "a", []byte("x\r\ny: z"), false); ok {
		t.Error("a line end got in")
	}
}

func FuzzSingle(f *testing.F) {
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"), false, byte(1), byte(2))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), true, byte(3), byte(9))
	f.Fuzz(func(t *testing.T, data []byte, response bool, a, b byte) {
		if d := frametest.Cuts(run(true, response), data, []int{1 + int(a), 1 + int(b)}); d != "" {
			t.Fatal(d)
		}
		r, _ := frametest.Whole(run(true, response), data)
		for _, m := range r.Messages {
			if !m.Flags.Has(frame.Header) || response {
				continue
			}
			again, err := frametest.Whole(run(true, false), []byte(m.Bytes)) // what goes out parses to the same
			if err != nil || len(again.Messages) != 1 || again.Messages[0].Bytes != m.Bytes || again.Messages[0].Path != m.Path {
				t.Fatalf("%q became %q: %v, %v", m.Wire, m.Bytes, again.Messages, err)
			}
		}
	})
}

func TestAllocMessage(t *testing.T) {
	c := New(true, 1<<16)
	in, out := c.NewRequestDecoder(), c.NewResponseDecoder()
	rq, rs := []byte("GET /a HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	var f frame.Frame
	once := func() {
		f = frame.Frame{}
		n, err := in.Next(rq, &f)
		note := f.Note
		f = frame.Frame{Note: note, Awaited: true}
		m, err2 := out.Next(rs, &f)
		if n != len(rq) || m != len(rs) || err != nil || err2 != nil {
			panic("not whole")
		}
	}
	once()
	if n := testing.AllocsPerRun(1000, once); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
