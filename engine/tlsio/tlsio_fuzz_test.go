package tlsio_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// fuzzed serves peers that the fuzz target makes, one at a time.
func fuzzed(f *testing.F) (addr string, next chan *peer) {
	g, err := engine.New(engine.Options{Loops: 1})
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = g.Stop(f.Context()) })
	next = make(chan *peer, 1)
	s := &server{tlsio.New(tlsio.Options{}), serverConfig(0), 10 * time.Second, func(*engine.Conn) *peer { return <-next }}
	return listen(f, g, s), next
}

// FuzzGarbageAfterTheHandshake: nothing of it reaches the handler, and the end is
// never an orderly one.
func FuzzGarbageAfterTheHandshake(f *testing.F) {
	addr, next := fuzzed(f)
	for _, s := range []string{
		"", "\x17", "\x17\x03\x03\x00\x00", "\x17\x03\x03\x00\x05hello", "\x15\x03\x03\x00\x02\x01\x00", "\x16\x03\x03\x00\x04\x00\x00\x00\x00",
		"\x14\x03\x03\x00\x01\x01", "\x17\x03\x03\xff\xff", "\x18\x03\x03\x00\x03abc", "GET / HTTP/1.1\r\n\r\n",
		strings.Repeat("\x14\x03\x03\x00\x01\x01", 40),
	} {
		f.Add([]byte(s), uint16(3), true)
		f.Add([]byte(s), uint16(0), false)
	}
	f.Fuzz(func(t *testing.T, garbage []byte, split uint16, is13 bool) {
		version := versions[0]
		if is13 {
			version = versions[1]
		}
		p := &peer{}
		next <- p
		c, raw := dialTLS(t, addr, clientConfig(version))
		at := min(int(split), len(garbage))
		_, _ = raw.Write(garbage[:at])
		_, _ = raw.Write(garbage[at:])
		_ = raw.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		eventually(t, "closed", p.isClosed)
		if p.got() != "" || strings.Contains(p.log(), "readclosed") {
			t.Errorf("garbage %q: the handler got %q, events %s", garbage, p.got(), p.log())
		}
	})
}

// tamperer changes one byte of what is written through it once it is armed.
type tamperer struct {
	net.Conn
	armed bool
	at    int
	flip  byte
}

func (c *tamperer) Write(p []byte) (int, error) {
	if c.armed {
		if c.at >= 0 && c.at < len(p) {
			p = bytes.Clone(p)
			p[c.at] ^= c.flip
		}
		c.at -= len(p)
	}
	return c.Conn.Write(p)
}

// FuzzOneChangedByte: whichever byte of a stream is changed on the way, the handler
// gets a prefix of what was sent and no orderly end.
func FuzzOneChangedByte(f *testing.F) {
	addr, next := fuzzed(f)
	for at := range 60 {
		f.Add(uint16(at*7), byte(1<<(at%8)), at%2 == 0)
	}
	sent := random(300)
	f.Fuzz(func(t *testing.T, at uint16, flip byte, is13 bool) {
		version := versions[0]
		if is13 {
			version = versions[1]
		}
		p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
		next <- p
		raw := dial(t, addr)
		tamper := &tamperer{Conn: raw, at: int(at), flip: flip}
		c := tls.Client(tamper, clientConfig(version))
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		tamper.armed = true
		for rest := sent; len(rest) > 0; rest = rest[100:] {
			_, _ = c.Write(rest[:100])
		}
		_ = c.CloseWrite()
		changed := flip != 0 && tamper.at < 0
		_ = raw.CloseWrite()
		eventually(t, "closed", p.isClosed)
		orderly, all := strings.Contains(p.log(), "readclosed"), p.got() == string(sent)
		switch {
		case !changed && !(orderly && all),
			changed && orderly,
			changed && all && int(at) < len(sent), // it is in the data, not in the close_notify
			!bytes.HasPrefix(sent, []byte(p.got())):
			t.Errorf("byte %d flipped by %#x: the handler got %d bytes, events %s", at, flip, len(p.got()), p.log())
		}
	})
}
