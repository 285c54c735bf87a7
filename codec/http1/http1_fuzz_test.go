package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// optionsOf makes options out of fuzzed bits; limits stay small so that they are met.
func optionsOf(bits uint8) *Options {
	return &Options{
		MaxHeadBytes: 400, MaxFields: 12, AllowHTTP10: bits&1 != 0, AllowAbsoluteURL: bits&2 != 0,
		AllowCustomMethods: bits&4 != 0, AllowChunkedLength: bits&8 != 0, Underscores: UnderscorePolicy(bits >> 4 % 3),
	}
}

// cutsOf makes ascending places to end a read at.
func cutsOf(places []byte, length int) []int {
	var cuts []int
	for _, p := range places {
		cuts = append(cuts, int(p)*length/255)
	}
	slices.Sort(cuts)
	return cuts
}

func FuzzRequestHead(f *testing.F) {
	for _, s := range append(slices.Clone(smuggling), benchRequest, benchBrowser) {
		f.Add([]byte(s), uint8(0x03), []byte{10, 100, 200})
		f.Add([]byte(s), uint8(0x0f), []byte{255})
	}
	f.Fuzz(func(t *testing.T, in []byte, bits uint8, places []byte) {
		o := optionsOf(bits)
		parse := func(b []byte, seen int, h *header.Head) (int, Err) { return ParseRequest(b, seen, o, h) }
		n, e, h := parseCut(string(in), nil, parse)
		for _, cuts := range [][]int{everyByte(string(in)), cutsOf(places, len(in))} {
			n2, e2, h2 := parseCut(string(in), cuts, parse)
			if n != n2 || e != e2 || n > 0 && describeRequest(h) != describeRequest(h2) {
				t.Fatalf("cuts %v: %d %q %s\nwhole: %d %q %s", cuts, n2, e2.Explain(), describeRequest(h2), n, e.Explain(), describeRequest(h))
			}
		}
		if n == 0 {
			return
		}
		oneFraming(t, string(in), n, h, o)
		againRequest(t, h, o)
	})
}

// oneFraming holds the parser's framing against the reference, which knows but one.
func oneFraming(t *testing.T, in string, n int, h *header.Head, o *Options) {
	t.Helper()
	r, err := readReference(in)
	if err != nil {
		t.Fatalf("accepted, but %v", err)
	}
	if r.head != n {
		t.Fatalf("the head is %d bytes, by the reference %d", n, r.head)
	}
	if o.AllowChunkedLength && len(r.codings) > 0 {
		r.lengths = nil // HC-20: dropped by configuration, and not forwarded
	}
	want, err := r.framing()
	if err != nil {
		t.Fatalf("accepted as %s, but %v", flagsOf(h), err)
	}
	got := "none"
	switch {
	case h.Transfer == header.Chunked:
		got = "chunked"
	case h.ContentLength >= 0:
		got = fmt.Sprint(h.ContentLength)
	}
	if h.Method == header.MethodConnect && want == "0" {
		want = "none"
	}
	if got != want {
		t.Fatalf("framed as %s, by the reference %s", got, want)
	}
}

// againRequest writes an accepted head and reads it back: the same request must come out.
func againRequest(t *testing.T, h *header.Head, o *Options) {
	t.Helper()
	if h.Authority.Len == 0 {
		h.SetAuthority([]byte("default")) // HC-55
	}
	if StripHopByHop(h, true, false) != OK {
		return
	}
	wire := AppendRequestHead(nil, h, Framing{Transfer: h.Transfer, Length: h.ContentLength})
	roomy := *o
	roomy.MaxHeadBytes *= 2
	roomy.MaxFields += 3 // host, connection and the framing
	var h2 header.Head
	n, e := ParseRequest(exact(string(wire)), 0, &roomy, &h2)
	if n != len(wire) {
		t.Fatalf("%q is read back as %d, %q", wire, n, e.Explain())
	}
	StripHopByHop(&h2, true, false)
	if a, b := semantics(h), semantics(&h2); a != b {
		t.Fatalf("%q\n was %s\n  is %s", wire, a, b)
	}
}

// semantics is what must survive a hop.
func semantics(h *header.Head) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s", h.Bytes(h.MethodText), h.Bytes(h.Authority), h.Bytes(h.Path), transferNames[h.Transfer])
	if h.Transfer == header.Length {
		fmt.Fprintf(&b, "(%d)", h.ContentLength)
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead && f.ID != header.ContentLength {
			fmt.Fprintf(&b, "[%s=%s]", strings.ToLower(string(h.NameOf(f))), h.Bytes(f.Value))
		}
	}
	return b.String()
}

func FuzzResponseHead(f *testing.F) {
	for _, s := range []string{
		benchResponse, "HTTP/1.0 200\n\n", "HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
		"HTTP/1.1 304 X\r\nContent-Length: 10\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(header.MethodGet), []byte{100})
		f.Add([]byte(s), uint8(header.MethodHead), []byte{30, 60})
		f.Add([]byte(s), uint8(header.MethodConnect), []byte{})
	}
	f.Fuzz(func(t *testing.T, in []byte, method uint8, places []byte) {
		o := optionsOf(0)
		req := RequestInfo{Method: header.Method(method % 10), Upgrade: method&0x80 != 0}
		parse := func(b []byte, seen int, h *header.Head) (int, Err) { return ParseResponse(b, seen, o, req, h) }
		n, e, h := parseCut(string(in), nil, parse)
		for _, cuts := range [][]int{everyByte(string(in)), cutsOf(places, len(in))} {
			n2, e2, h2 := parseCut(string(in), cuts, parse)
			if n != n2 || e != e2 || n > 0 && describeResponse(h) != describeResponse(h2) {
				t.Fatalf("cuts %v: %d %q\nwhole: %d %q", cuts, n2, e2.Explain(), n, e.Explain())
			}
		}
		if n == 0 || h.Transfer == header.Tunnel {
			return
		}
		if h.Status >= 200 && h.Status != 204 {
			r, err := readReference(string(in))
			if err == nil {
				_, err = r.framing()
			}
			if err != nil || r.head != n {
				t.Fatalf("accepted with %d bytes of head, by the reference %d, %v", n, r.head, err)
			}
		}
		StripHopByHop(h, false, false)
		wire := AppendResponseHead(nil, h, Framing{Transfer: h.Transfer, Length: h.ContentLength, KeepReason: true})
		roomy := DefaultOptions()
		var h2 header.Head
		if n, e := ParseResponse(exact(string(wire)), 0, &roomy, req, &h2); n != len(wire) {
			t.Fatalf("%q is read back as %d, %q", wire, n, e.Explain())
		}
		StripHopByHop(&h2, false, false)
		if a, b := semantics(h), semantics(&h2); a != b || h.Status != h2.Status {
			t.Fatalf("%q\n was %s\n  is %s", wire, a, b)
		}
	})
}

func FuzzChunkedBody(f *testing.F) {
	for _, s := range smuggling {
		if _, body, ok := strings.Cut(s, "\r\n\r\n"); ok {
			f.Add([]byte(body), []byte{50, 100})
		}
	}
	f.Add([]byte("3;a=b\r\nabc\r\n0;x\r\nA: b\r\n\r\nrest"), []byte{20, 90, 180})
	f.Add([]byte("0\r\nA: 1\r\nB_c: 2\r\nTE: x\r\n\r\n"), []byte{128})
	f.Fuzz(func(t *testing.T, in, places []byte) {
		limits := optionsOf(0)
		limits.MaxHeadBytes = 64
		read := func(cuts []int) decoded {
			d := bodyOf(header.Chunked, -1)
			d.SetLimits(limits)
			return decode(t, d, string(in), cuts)
		}
		want := read(nil)
		for _, cuts := range [][]int{everyByte(string(in)), cutsOf(places, len(in))} {
			if got := read(cuts); got != want {
				t.Fatalf("cuts %v\n got %+v\nwant %+v", cuts, got, want)
			}
		}
		if !want.done {
			return
		}
		wire := AppendChunk(nil, len(want.data))
		if len(want.data) > 0 {
			wire = AppendChunkEnd(append(wire, want.data...))
		}
		if got := decode(t, bodyOf(header.Chunked, -1), string(AppendLastChunk(wire, nil)), nil); got.data != want.data || !got.done {
			t.Fatalf("encoded again: %+v", got)
		}
	})
}

// FuzzRequestAgainstNetHTTP: what we accept, net/http must read as the same request. Permitted
// differences, each with its ground:
//
//   - net/http does not skip empty lines first (RFC 9112 2.2 says to): they are cut off before.
//   - net/http parses the target as a URL and refuses some, such as "%zz" or "/%" (RFC 3986 2.1); we
//     pass an origin-form target on as it is, so that the origin decides (RFC 9110 4.2.5 is silent).
//   - net/http takes userinfo and escapes off a host; hosts with '%' or '@' are not compared.
//   - net/http adds Cache-Control beside "Pragma: no-cache" (RFC 9111 5.4).
//   - net/http removes Transfer-Encoding, Trailer and Host from the fields, and Content-Length beside
//     Transfer-Encoding; refuses Trailer fields that name framing fields. They are not compared.
//   - net/http checks the bytes of a CONNECT target as a URL authority.
//   - net/http limits chunk-size lines to a few KiB and refuses many tiny chunks with long extensions;
//     the fuzzer's inputs are too small for that to matter.
//   - net/http reads trailers with textproto, which takes LF alone: we are the stricter (RFC 9112 7.1.2).
func FuzzRequestAgainstNetHTTP(f *testing.F) {
	for _, s := range append(slices.Clone(smuggling), benchRequest, benchBrowser) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		o := Options{MaxHeadBytes: 4096, MaxFields: 50, AllowHTTP10: true, AllowAbsoluteURL: true, AllowCustomMethods: true}
		var h header.Head
		n, _ := ParseRequest(exact(string(in)), 0, &o, &h)
		if n == 0 {
			return
		}
		wire := bytes.TrimLeft(in, "\r\n")
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil {
			if h.Has(header.Trailer) {
				return
			}
			target := strings.Split(string(wire), " ")[1]
			if h.Method == header.MethodConnect {
				target = "http://" + target
			}
			if _, urlErr := url.ParseRequestURI(target); urlErr == nil {
				t.Fatalf("accepted as %s, but net/http says %v", describeRequest(&h), err)
			}
			return
		}
		if req.Method != h.Text(h.MethodText) {
			t.Fatalf("method %q, net/http %q", h.Text(h.MethodText), req.Method)
		}
		sameTarget(t, &h, req)
		sameFields(t, &h, req.Header)
		d := &Body{}
		d.Init(&h)
		got := decode(t, d, string(in[n:]), nil)
		body, err := io.ReadAll(req.Body)
		if got.done && (err != nil || string(body) != got.data) {
			t.Fatalf("body %q, net/http %q %v", got.data, body, err)
		}
	})
}

func sameTarget(t *testing.T, h *header.Head, req *http.Request) {
	t.Helper()
	if authority := h.Text(h.Authority); !strings.ContainsAny(authority, "%@") && req.Host != authority {
		t.Fatalf("host %q, net/http %q", authority, req.Host)
	}
	switch {
	case h.Method == header.MethodConnect:
		if req.RequestURI != h.Text(h.Authority) {
			t.Fatalf("target %q, net/http %q", h.Text(h.Authority), req.RequestURI)
		}
	case h.AbsoluteForm:
		if path := h.Text(h.Path); !strings.HasSuffix(req.RequestURI, path) && !strings.HasSuffix("/"+req.RequestURI, path) &&
			!strings.HasSuffix(req.RequestURI, path[1:]) {
			t.Fatalf("path %q, net/http %q", path, req.RequestURI)
		}
		if req.URL.Scheme != h.Text(h.Scheme) {
			t.Fatalf("scheme %q, net/http %q", h.Text(h.Scheme), req.URL.Scheme)
		}
	case req.RequestURI != h.Text(h.Path):
		t.Fatalf("target %q, net/http %q", h.Text(h.Path), req.RequestURI)
	}
}

// sameFields compares all fields but those net/http takes out.
func sameFields(t *testing.T, h *header.Head, got http.Header) {
	t.Helper()
	want := http.Header{}
	pragma := false
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Dead || f.ID == header.Trailer || f.ID == header.TransferEncoding || f.ID == header.ContentLength || f.ID == header.Host {
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(string(h.NameOf(f)))
		want[name] = append(want[name], string(h.Bytes(f.Value)))
		pragma = pragma || name == "Pragma"
	}
	for name := range got {
		switch {
		case name == "Trailer", name == "Transfer-Encoding", name == "Content-Length", name == "Host":
		case pragma && name == "Cache-Control":
		case !slices.Equal(got[name], want[name]):
			t.Fatalf("%s is %q, net/http %q", name, want[name], got[name])
		}
	}
	for name := range want {
		if got[name] == nil {
			t.Fatalf("%s is %q, net/http has none", name, want[name])
		}
	}
}

// FuzzResponseAgainstNetHTTP does the same for responses. Permitted differences besides those above:
//
//   - net/http refuses a Content-Length it cannot read also where it means nothing (1xx, 204, CONNECT).
//   - 1xx and tunnels are not compared: net/http's client handles them above ReadResponse.
func FuzzResponseAgainstNetHTTP(f *testing.F) {
	for _, s := range []string{
		benchResponse + strings.Repeat("x", 612), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 200 OK\n\nuntil the end", "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 X\r\n\r\nextra", "HTTP/1.1 999\r\nA: b\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		o := DefaultOptions()
		info, method := forGet, "GET"
		if head {
			info, method = forHead, "HEAD"
		}
		var h header.Head
		n, _ := ParseResponse(exact(string(in)), 0, &o, info, &h)
		if n == 0 || h.Status < 200 {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: method})
		if err != nil {
			if h.Has(header.Trailer) {
				return
			}
			t.Fatalf("accepted as %s, but net/http says %v", describeResponse(&h), err)
		}
		if resp.StatusCode != int(h.Status) {
			t.Fatalf("status %d, net/http %d", h.Status, resp.StatusCode)
		}
		sameFields(t, &h, resp.Header)
		d := &Body{}
		d.Init(&h)
		got := decode(t, d, string(in[n:]), nil)
		body, err := io.ReadAll(resp.Body)
		if complete := got.e == OK && d.OnClose() == OK; complete && (err != nil || string(body) != got.data) {
			t.Fatalf("body %q, net/http %q %v", got.data, body, err)
		}
	})
}
