package http1

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

const (
	benchRequest = "GET /index.html?q=1 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: wrk/4.2.0\r\n" +
		"Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n"
	benchBrowser = "GET /assets/app-4f1c2.js HTTP/1.1\r\nHost: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nSec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\n" +
		"Referer: https://www.example.com/\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
	benchResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\n" +
		"Content-Type: text/html\r\nContent-Length: 612\r\nConnection: keep-alive\r\n\r\n"
)

func BenchmarkParseRequest(b *testing.B) {
	for name, text := range map[string]string{"small": benchRequest, "browser": benchBrowser} {
		b.Run(name, func(b *testing.B) {
			in, o := []byte(text), DefaultOptions()
			var h header.Head
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if n, _ := ParseRequest(in, 0, &o, &h); n != len(in) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	in, o := []byte(benchResponse), DefaultOptions()
	var h header.Head
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if n, _ := ParseResponse(in, 0, &o, RequestInfo{Method: header.MethodGet}, &h); n != len(in) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkAppendRequestHead(b *testing.B) {
	in, o := []byte(benchRequest), DefaultOptions()
	var h header.Head
	ParseRequest(in, 0, &o, &h)
	StripHopByHop(&h, true, false)
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendRequestHead(dst[:0], &h, Framing{Transfer: h.Transfer, Length: h.ContentLength})
	}
}

func BenchmarkAppendResponseHead(b *testing.B) {
	in, o := []byte(benchResponse), DefaultOptions()
	var h header.Head
	ParseResponse(in, 0, &o, RequestInfo{Method: header.MethodGet}, &h)
	StripHopByHop(&h, false, false)
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendResponseHead(dst[:0], &h, Framing{Transfer: h.Transfer, Length: h.ContentLength})
	}
}

func BenchmarkStripHopByHop(b *testing.B) {
	in, o := []byte(benchRequest), DefaultOptions()
	var h header.Head
	b.ReportAllocs()
	for b.Loop() {
		ParseRequest(in, 0, &o, &h)
		StripHopByHop(&h, true, false)
	}
}

func BenchmarkBodyChunked(b *testing.B) {
	var wire []byte
	for range 16 {
		wire = AppendChunk(wire, 1000)
		wire = append(wire, make([]byte, 1000)...)
		wire = AppendChunkEnd(wire)
	}
	wire = AppendLastChunk(wire, nil)
	var h header.Head
	h.Transfer = header.Chunked
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		var d Body
		d.Init(&h)
		for p, done := wire, false; !done; {
			var n int
			_, n, done, _ = d.Next(p)
			p = p[n:]
		}
	}
}

func BenchmarkNormalizePath(b *testing.B) {
	for name, path := range map[string]string{"plain": "/api/v1/users/12345?fields=name", "dots": "/api/./v1/../v2/%61?x=1"} {
		b.Run(name, func(b *testing.B) {
			o := PathOptions{Normalize: true, MergeSlashes: true}
			dst := make([]byte, 0, 256)
			p := []byte(path)
			b.ReportAllocs()
			for b.Loop() {
				NormalizePath(dst[:0], p, &o)
			}
		})
	}
}
