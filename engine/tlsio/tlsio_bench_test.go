package tlsio_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// BenchmarkEcho is a round trip through one connection, beside a goroutine per
// connection with net and crypto/tls.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{64, 16 << 10, 256 << 10} {
		for _, blocking := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d bytes/blocking=%v", size, blocking), func(b *testing.B) {
				var addr string
				if blocking {
					addr = blockingEcho(b, 0)
				} else {
					addr = listen(b, group(b, engine.Options{Loops: 1}), echoAcceptor{tlsio.New(tlsio.Options{}), serverConfig(0)})
				}
				c, _ := dialTLS(b, addr, clientConfig(0))
				msg, back := make([]byte, size), make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Write(msg); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c, back); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkHandshake is a full TLS 1.3 handshake, both ends, and the connection.
func BenchmarkHandshake(b *testing.B) {
	for _, blocking := range []bool{false, true} {
		b.Run(fmt.Sprintf("blocking=%v", blocking), func(b *testing.B) {
			var addr string
			if blocking {
				addr = blockingEcho(b, 0)
			} else {
				addr = listen(b, group(b, engine.Options{Loops: 1}), echoAcceptor{tlsio.New(tlsio.Options{}), serverConfig(0)})
			}
			cc := clientConfig(0)
			for b.Loop() {
				raw, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				c := tls.Client(raw, cc)
				if _, err := c.Write([]byte("x")); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
				raw.Close()
			}
		})
	}
}
