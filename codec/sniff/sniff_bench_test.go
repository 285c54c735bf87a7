package sniff

import (
	"crypto/tls"
	"testing"
)

func BenchmarkClientHello(b *testing.B) {
	in := []byte(clientHello(b, &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}))
	var h ClientHello
	dst := make([]byte, 0, 64)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ParseClientHello(in, 0, &h) != TLS {
				b.Fatal("refused")
			}
		}
	})
	b.Run("JA3", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = h.JA3(dst[:0])
		}
	})
	b.Run("JA4", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = h.JA4(dst[:0])
		}
	})
}

func BenchmarkDetectHTTP(b *testing.B) {
	in := []byte("GET /assets/app.js?v=12 HTTP/1.1\r\nHost: x\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if DetectHTTP(in, 0, 0) != HTTP11 {
			b.Fatal("refused")
		}
	}
}
