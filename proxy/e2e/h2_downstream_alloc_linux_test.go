//go:build !sluicedebug

package e2e

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// maxMallocsPerH2Request leaves room for the runtime's own.
const maxMallocsPerH2Request = 0.02

// rawH2 is a client on a plain socket that allocates nothing.
type rawH2 struct {
	t        *testing.T
	fd       int
	out, buf []byte
	id       uint32
	// parsing of what comes
	need   int // of a payload
	head   [9]byte
	have   int
	ended  int // streams
	credit uint32
}

func dialRawH2(t *testing.T, addr netip.AddrPort) *rawH2 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	c := &rawH2{t: t, fd: fd, buf: make([]byte, 64<<10), id: 1}
	c.out = append(c.out, http2.ClientPreface...)
	c.frame(4, 0, 0, nil)
	c.frame(4, 1, 0, nil)
	c.flush()
	return c
}

func (c *rawH2) frame(typ, flags byte, id uint32, payload []byte) {
	n := len(payload)
	c.out = append(c.out, byte(n>>16), byte(n>>8), byte(n), typ, flags)
	c.out = binary.BigEndian.AppendUint32(c.out, id)
	c.out = append(c.out, payload...)
}

func (c *rawH2) flush() {
	if _, err := unix.Write(c.fd, c.out); err != nil {
		c.t.Fatal(err)
	}
	c.out = c.out[:0]
}

// read takes what has come and counts the streams that ended.
func (c *rawH2) read() {
	n, err := unix.Read(c.fd, c.buf)
	if n <= 0 {
		c.t.Fatal("the client read ", n, err)
	}
	for b := c.buf[:n]; len(b) > 0; {
		if c.need > 0 {
			k := min(c.need, len(b))
			c.need, b = c.need-k, b[k:]
			continue
		}
		k := copy(c.head[c.have:], b)
		c.have, b = c.have+k, b[k:]
		if c.have < len(c.head) {
			continue
		}
		c.have = 0
		c.need = int(c.head[0])<<16 | int(c.head[1])<<8 | int(c.head[2])
		switch c.head[3] {
		case 0:
			c.credit += uint32(c.need)
			fallthrough
		case 1:
			c.ended += int(c.head[4] & 1)
		}
	}
	if c.credit > 20_000 {
		var inc [4]byte
		binary.BigEndian.PutUint32(inc[:], c.credit)
		c.frame(8, 0, 0, inc[:])
		c.credit = 0
	}
}

// serveRaw answers n requests on a connection: it looks for the end of a head, and when there is a body
// for the last chunk.
func (o *rawOrigin) serveRaw(t *testing.T, fd, n int, end, answer, buf []byte) {
	for range n {
		got := 0
		for !bytes.HasSuffix(buf[:got], end) {
			k, err := unix.Read(fd, buf[got:])
			if k <= 0 {
				t.Error("the origin read ", k, err)
				return
			}
			got += k
		}
		if _, err := unix.Write(fd, answer); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestH2RequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	get := []byte("\x82\x86\x84\x01\x04test\x0f\x2b\x05bench") // :method GET, :scheme, :path /, :authority, user-agent
	post := append([]byte("\x83\x86\x84\x01\x04test"), "\x00\x0econtent-length\x05"...)
	post = append(post, "10000"...)
	plain := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello")
	large := append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"), make([]byte, 10_000)...)
	for _, row := range []struct {
		name   string
		block  []byte
		body   []byte
		end    string // of a request at the origin
		answer []byte
	}{
		{"GET", get, nil, "\r\n\r\n", plain},
		{"a body of 10 KB each way", post, append(make([]byte, 9_998), "\r\n"...), "\x00\r\n", large},
	} {
		t.Run(row.name, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newRawOrigin(t)
			top := one(o)
			top.LogFormat = "[%START_TIME%] %REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %DURATION% %REQ(X-REQUEST-ID)% %UPSTREAM_HOST%"
			p := serveH2(t, top, nil)
			c := dialRawH2(t, netip.MustParseAddrPort(p.Addr))
			buf := make([]byte, 64<<10)
			up := -1
			t.Cleanup(func() { unix.Close(up) })
			request := func() {
				flags := byte(4)
				if row.body == nil {
					flags |= 1
				}
				c.frame(1, flags, c.id, row.block)
				if row.body != nil {
					c.frame(0, 1, c.id, row.body)
				}
				c.flush()
				c.id += 2
				if up < 0 {
					up = o.accept(t)
				}
				o.serveRaw(t, up, 1, []byte(row.end), row.answer, buf)
				for want := c.ended + 1; c.ended < want; {
					c.read()
				}
			}
			for range 500 {
				request()
			}
			const requests = 5000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range requests {
				request()
			}
			runtime.ReadMemStats(&after)
			per := float64(after.Mallocs-before.Mallocs) / requests
			t.Logf("%.4f allocations per request", per)
			if per > maxMallocsPerH2Request {
				t.Errorf("%.4f allocations per request, at most %v are allowed", per, maxMallocsPerH2Request)
			}
			unix.Close(c.fd)
			unix.Close(up)
			up, c.fd = -1, -1
			if n := p.Stat(inH2 + "downstream_rq_2xx"); n != requests+500 {
				t.Errorf("%d good answers", n)
			}
		})
	}
}
