package hpack

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

type benchField struct {
	pseudo Pseudo
	id     header.Known
	name   []byte
	value  []byte
}

func benchFields(pairs ...string) (out []benchField) {
	for i := 0; i < len(pairs); i += 2 {
		f := benchField{name: []byte(pairs[i]), value: []byte(pairs[i+1])}
		if f.name[0] == ':' {
			f.pseudo = pseudoOf(f.name)
		} else {
			f.id = header.Lookup(f.name)
		}
		out = append(out, f)
	}
	return out
}

var (
	benchRequest = benchFields(":method", "GET", ":scheme", "https", ":path", "/index.html?q=1", ":authority", "localhost:8080",
		"user-agent", "h2load nghttp2/1.52.0", "accept", "*/*", "accept-encoding", "gzip, deflate, br", "x-own", "value")
	benchResponse = benchFields(":status", "200", "server", "sluice", "date", "Mon, 02 Nov 2026 10:00:00 GMT", "content-type", "text/html",
		"content-length", "612", "x-envoy-upstream-service-time", "1")
)

func encodeBench(e *Encoder, dst []byte, fields []benchField) []byte {
	dst = e.Begin(dst)
	for i := range fields {
		f := &fields[i]
		switch f.pseudo {
		case Status:
			dst = e.Status(dst, 200)
		case Regular:
			dst = e.Field(dst, f.id, f.name, f.value, false)
		default:
			dst = e.Pseudo(dst, f.pseudo, f.value)
		}
	}
	return dst
}

func BenchmarkEncode(b *testing.B) {
	for name, fields := range map[string][]benchField{"request": benchRequest, "response": benchResponse} {
		b.Run(name, func(b *testing.B) {
			var e Encoder
			e.Init(4096)
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				dst = encodeBench(&e, dst[:0], fields)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, fields := range map[string][]benchField{"request": benchRequest, "response": benchResponse} {
		for _, warm := range []bool{true, false} {
			kind := "/literal"
			var e Encoder
			e.Init(4096)
			var d Decoder
			d.Init()
			text := make([]byte, 0, 4096)
			decode := func(block []byte) {
				i, _ := d.Begin(block, text)
				for i < len(block) {
					var f Field
					i, _ = d.Next(block, i, &f)
				}
			}
			block := encodeBench(&e, nil, fields)
			if warm {
				kind = "/indexed"
				block = encodeBench(&e, nil, fields)
				decode(block)
				block = encodeBench(&e, nil, fields)
			}
			b.Run(name+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decode(block)
				}
			})
		}
	}
}

func BenchmarkHuffman(b *testing.B) {
	s := []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36")
	coded := appendHuffman(nil, s)
	dst := make([]byte, 0, 512)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			dst = appendHuffman(dst[:0], s)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			dst, _ = appendHuffmanDecoded(dst[:0], coded)
		}
	})
}
