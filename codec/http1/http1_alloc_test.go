//go:build !race

package http1

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// TestNothingAllocates runs one proxied exchange, codec side only, with warm heads and buffers.
func TestNothingAllocates(t *testing.T) {
	request := []byte("POST http://h:80?q HTTP/1.1\r\nHost: x\r\nConnection: close, x-a\r\nX-A: 1\r\nTE: trailers\r\n" +
		"x-other: 2\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
	body := []byte("3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
	response := []byte(benchResponse)
	path, host := []byte("/a/../%62//c?d"), []byte("x.:80")
	o := DefaultOptions()
	paths := PathOptions{Normalize: true, MergeSlashes: true, EscapedSlashes: EscapedSlashForward}
	var h, trailers header.Head
	var d Body
	dst := make([]byte, 0, 4096)
	exchange := func() {
		ParseRequest(request[:40], 0, &o, &h)
		ParseRequest(request[:60], 40, &o, &h)
		if n, e := ParseRequest(request, 60, &o, &h); n == 0 {
			t.Fatal(e.Explain())
		}
		if e := StripHopByHop(&h, true, false); e != OK {
			t.Fatal(e.Explain())
		}
		for _, c := range []HeaderCase{LowerCase, ProperCase, PreserveCase} {
			dst = AppendRequestHead(dst[:0], &h, Framing{Transfer: h.Transfer, Case: c, FullURL: true})
		}
		d.Init(&h)
		d.SetLimits(&o)
		d.SetTrailers(&trailers)
		for p, done := body, false; !done; {
			data, n, ended, e := d.Next(p)
			if e != OK {
				t.Fatal(e.Explain())
			}
			dst = AppendChunkEnd(append(AppendChunk(dst, len(data)), data...))
			p, done = p[n:], ended
		}
		dst = AppendLastChunk(dst, &trailers)
		if n, e := ParseResponse(response, 0, &o, forGet, &h); n == 0 {
			t.Fatal(e.Explain())
		}
		StripHopByHop(&h, false, false)
		dst = AppendResponseHead(dst[:0], &h, Framing{Transfer: h.Transfer, Length: h.ContentLength, KeepReason: true})
		dst, _ = NormalizePath(dst[:0], path, &paths)
		dst, _ = AppendWithoutHostDot(dst, StripMatchingPort(host, 80))
	}
	exchange()
	if n := testing.AllocsPerRun(100, exchange); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
