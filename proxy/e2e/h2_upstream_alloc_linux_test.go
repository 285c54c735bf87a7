//go:build !sluicedebug

//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// rawH2Server is the server's end of one connection, by plain system calls, which allocate nothing. It answers
// each request that has ended with :status 200 and a body.
type rawH2Server struct {
	t        *testing.T
	fd       int
	in       []byte
	out      []byte
	answered int
}

const rawH2Body = "hello"

// appendFrame appends a frame's header.
func appendFrame(b []byte, length int, typ http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(typ), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

// serve reads until n requests more were answered.
func (s *rawH2Server) serve(n int) {
	for goal := s.answered + n; s.answered < goal; {
		k, err := unix.Read(s.fd, s.in[len(s.in):cap(s.in)])
		if k <= 0 {
			s.t.Fatal("the origin read ", k, err)
		}
		s.in = s.in[:len(s.in)+k]
		s.out = s.out[:0]
		used := 0
		for {
			f := s.in[used:]
			if used == 0 && bytes.HasPrefix(f, clientPreface) {
				used += len(clientPreface)
				continue
			}
			if len(f) < 9 {
				break
			}
			length := int(f[0])<<16 | int(f[1])<<8 | int(f[2])
			if len(f) < 9+length {
				break
			}
			s.frame(http2.FrameType(f[3]), http2.Flags(f[4]), binary.BigEndian.Uint32(f[5:]))
			used += 9 + length
		}
		s.in = s.in[:copy(s.in, s.in[used:])]
		if len(s.out) > 0 {
			if _, err := unix.Write(s.fd, s.out); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

var clientPreface = []byte(http2.ClientPreface)

func (s *rawH2Server) frame(typ http2.FrameType, flags http2.Flags, stream uint32) {
	switch {
	case typ == http2.FrameSettings && flags&http2.FlagSettingsAck == 0:
		s.out = appendFrame(s.out, 0, http2.FrameSettings, 0, 0)
		s.out = appendFrame(s.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	case (typ == http2.FrameHeaders || typ == http2.FrameData) && flags&http2.FlagDataEndStream != 0:
		s.out = appendFrame(s.out, 1, http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream)
		s.out = append(s.out, 0x88) // :status 200
		s.out = appendFrame(s.out, len(rawH2Body), http2.FrameData, http2.FlagDataEndStream, stream)
		s.out = append(s.out, rawH2Body...)
		s.out = appendFrame(s.out, 4, http2.FrameWindowUpdate, 0, 0)
		s.out = binary.BigEndian.AppendUint32(s.out, uint32(len(rawH2Body)))
		s.answered++
	}
}

// A request from HTTP/1 to HTTP/2, with a body both ways, log line included.
func TestHTTP2UpstreamRequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	harness.NoLeaks(t)
	o := newRawOrigin(t)
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.Breakers[conf.PriorityDefault].MaxConnections = 1 })
	to := netip.MustParseAddrPort(p.Addr)
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	if err := unix.Connect(c, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	message, buf := []byte(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: test\r\nX-Some: field\r\nContent-Length: %d\r\n\r\n%s", len(rawH2Body), rawH2Body)), make([]byte, 4096)
	s := &rawH2Server{t: t, fd: -1, in: make([]byte, 0, 64<<10), out: make([]byte, 0, 4096)}
	request := func() {
		if _, err := unix.Write(c, message); err != nil {
			t.Fatal(err)
		}
		if s.fd < 0 {
			s.fd = o.accept(t)
		}
		s.serve(1)
		for got := 0; ; {
			n, err := unix.Read(c, buf[got:])
			if n <= 0 {
				t.Fatal("the client read ", n, err)
			}
			if got += n; bytes.HasSuffix(buf[:got], bodyEnd) {
				return
			}
		}
	}
	for range 2000 {
		request()
	}
	const requests = 20000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		request()
	}
	runtime.ReadMemStats(&after)
	per := float64(after.Mallocs-before.Mallocs) / requests
	t.Logf("%.4f allocations per request", per)
	if per > maxMallocsPerRequest {
		t.Errorf("%.4f allocations per request, at most %v are allowed", per, maxMallocsPerRequest)
	}
	unix.Close(s.fd)
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_http2_total": 1, "cluster.origin.upstream_rq_200": requests + 2000})
}

// bodyEnd is how an answer ends, chunked or not.
var bodyEnd = []byte("\r\n0\r\n\r\n")
