package sock

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns two connected non-blocking TCP sockets.
func pair(t *testing.T, listenOn string) (a, b int) {
	t.Helper()
	ln, err := ListenTCP(netip.MustParseAddrPort(listenOn), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(ln)
	addr := LocalAddr(ln)
	a, e := DialTCP(addr, netip.AddrPort{})
	if c := Classify(e); c != OK && c != InProgress {
		t.Fatal(e)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		if b, _, e = Accept(ln); e == 0 {
			break
		}
		if Classify(e) != Again || time.Now().After(deadline) {
			t.Fatal(e)
		}
		time.Sleep(time.Millisecond)
	}
	if e := ConnectResult(a, addr); e != 0 {
		t.Fatal(e)
	}
	t.Cleanup(func() { Close(a); Close(b) })
	return a, b
}

// readAll reads n bytes, however many reads it takes.
func readAll(t *testing.T, fd, n int) []byte {
	t.Helper()
	got := make([]byte, 0, n)
	for deadline := time.Now().Add(5 * time.Second); len(got) < n; {
		m, e := Read(fd, got[len(got):n])
		got = got[:len(got)+m]
		if e != 0 && Classify(e) != Again || time.Now().After(deadline) {
			t.Fatalf("read %d of %d: %v", len(got), n, e)
		}
	}
	return got
}

func TestAddressesSurviveTheKernel(t *testing.T) {
	for _, listenOn := range []string{"127.0.0.1:0", "[::1]:0"} {
		a, b := pair(t, listenOn)
		la, lb := LocalAddr(a), LocalAddr(b)
		want := netip.MustParseAddrPort(listenOn).Addr()
		if la.Addr() != want || lb.Addr() != want || la.Port() == lb.Port() || la.Port() == 0 {
			t.Errorf("%s: ends %v and %v", listenOn, la, lb)
		}
	}
}

func TestReadsAndWritesOfOneAndTwoPieces(t *testing.T) {
	a, b := pair(t, "127.0.0.1:0")
	if _, e := Read(b, make([]byte, 1)); Classify(e) != Again {
		t.Fatalf("read with nothing there: %v", e)
	}
	if n, e := Write(a, []byte("ab")); n != 2 || e != 0 {
		t.Fatal(n, e)
	}
	if n, e := Write2(a, []byte("cd"), []byte("e")); n != 3 || e != 0 {
		t.Fatal(n, e)
	}
	if n, e := Writev(a, [][]byte{[]byte("f"), []byte("gh"), []byte("i")}); n != 4 || e != 0 {
		t.Fatal(n, e)
	}
	if got := readAll(t, b, 9); string(got) != "abcdefghi" {
		t.Fatalf("got %q", got)
	}
	if n, e := Write(a, []byte("0123456")); n != 7 || e != 0 {
		t.Fatal(n, e)
	}
	x, y := make([]byte, 3), make([]byte, 10)
	for {
		n, e := Read2(b, x, y)
		if Classify(e) == Again {
			continue
		}
		if n != 7 || string(x)+string(y[:4]) != "0123456" {
			t.Fatalf("%d bytes, %q %q, %v", n, x, y, e)
		}
		break
	}
}

func TestForward(t *testing.T) {
	a, from := pair(t, "127.0.0.1:0")
	to, b := pair(t, "127.0.0.1:0")
	p := make([]byte, 8)
	check := func(what string, read int, readAs Class, written int, writtenAs Class) {
		t.Helper()
		n, e, w, we := Forward(from, to, p)
		for n == 0 && Classify(e) == Again && readAs != Again {
			n, e, w, we = Forward(from, to, p) // what was sent is still on its way
		}
		if n != read || Classify(e) != readAs || w != written || Classify(we) != writtenAs {
			t.Fatalf("%s: read %d, %v; written %d, %v", what, n, e, w, we)
		}
	}
	check("nothing there", 0, Again, 0, OK)
	Write(a, []byte("0123456789"))
	check("more than there is room for", 8, OK, 8, OK)
	check("the rest", 2, OK, 2, OK)
	if got := readAll(t, b, 10); string(got) != "0123456789" {
		t.Fatalf("got %q", got)
	}

	for e := syscall.Errno(0); e == 0; _, e = Write(to, make([]byte, 64<<10)) {
	}
	Write(a, []byte("abc"))
	check("no room to write", 3, OK, 0, Again)
	if string(p[:3]) != "abc" {
		t.Fatalf("what was not written is lost: %q", p[:3])
	}

	if e := ShutdownWrite(to); e != 0 {
		t.Fatal(e)
	}
	Write(a, []byte("de"))
	check("nobody to write to", 2, OK, 0, Reset)
	if e := ShutdownWrite(a); e != 0 {
		t.Fatal(e)
	}
	check("the end", 0, OK, 0, OK)
}

func TestEndOfStreamAndReset(t *testing.T) {
	a, b := pair(t, "127.0.0.1:0")
	ShutdownWrite(a)
	until := func(fd int) (int, syscall.Errno) {
		for {
			if n, e := Read(fd, make([]byte, 1)); Classify(e) != Again {
				return n, e
			}
		}
	}
	if n, e := until(b); n != 0 || e != 0 {
		t.Errorf("after a FIN: %d, %v", n, e)
	}
	ResetOnClose(b)
	Close(b)
	if n, e := until(a); n != 0 || Classify(e) != Reset {
		t.Errorf("after a RST: %d, %v", n, e)
	}
	if _, e := Write(a, []byte("x")); Classify(e) != Reset {
		t.Errorf("write to a dead peer: %v", e)
	}
}

func noDelay(fd int) bool {
	v, e := getInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
	return e == 0 && v != 0
}

func TestOptions(t *testing.T) {
	a, b := pair(t, "127.0.0.1:0")
	for _, fd := range []int{a, b} {
		if !noDelay(fd) {
			t.Error("TCP_NODELAY is off on a new connection")
		}
	}
	SetNoDelay(a, false)
	if noDelay(a) {
		t.Error("TCP_NODELAY is still on")
	}
	if e := SetKeepAlive(a, 90*time.Second, 1500*time.Millisecond, 4); e != 0 {
		t.Fatal(e)
	}
	for _, o := range []struct{ level, name, want int }{
		{unix.IPPROTO_TCP, tcpKeepIdle, 90},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
	} {
		if v, e := getInt(a, o.level, o.name); v != o.want || e != 0 {
			t.Errorf("option %d is %d, want %d (%v)", o.name, v, o.want, e)
		}
	}
	if e := SocketError(a); e != 0 {
		t.Errorf("error on a healthy socket: %v", e)
	}
}

func TestConnectResultOfARefusedDial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	ln.Close()
	fd, e := DialTCP(addr, netip.AddrPort{})
	if fd >= 0 {
		defer Close(fd)
		for Classify(e) == InProgress {
			e = ConnectResult(fd, addr)
		}
	}
	if Classify(e) != Refused {
		t.Errorf("got %v", e)
	}
}

func TestUnixSocketsReplaceAStaleFile(t *testing.T) {
	dir, err := os.MkdirTemp("", "sl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	for range 2 { // the first leaves its file behind
		fd, err := ListenUnix(path, 0, ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c, e := DialUnix(path)
		if e != 0 {
			t.Fatal(e)
		}
		if LocalAddr(c).IsValid() {
			t.Error("a unix socket has an IP address")
		}
		Close(c)
		Close(fd)
	}
	if err := os.WriteFile(path+"2", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path+"2", 0, ListenOptions{}); err == nil {
		t.Error("listens over a file that is no socket")
	}
}

func TestSpliceMovesBytesThroughAPipe(t *testing.T) {
	if !CanSplice {
		t.Skip("no splice here")
	}
	a, b := pair(t, "127.0.0.1:0")
	c, d := pair(t, "127.0.0.1:0")
	r, w, size, e := NewPipe(1 << 20)
	if e != 0 || size < 4096 {
		t.Fatal(size, e)
	}
	defer Close(r)
	defer Close(w)
	sent := bytes.Repeat([]byte("0123456789"), 3000)
	if n, e := Write(a, sent); n != len(sent) || e != 0 {
		t.Fatal(n, e)
	}
	for moved := 0; moved < len(sent); {
		n, e := Splice(b, w, size)
		if Classify(e) == Again {
			continue
		}
		if e != 0 {
			t.Fatal(e)
		}
		moved += n
		for n > 0 {
			m, e := Splice(r, c, n)
			if e != 0 {
				t.Fatal(e)
			}
			n -= m
		}
	}
	if got := readAll(t, d, len(sent)); !bytes.Equal(got, sent) {
		t.Error("bytes differ")
	}
}

func TestClasses(t *testing.T) {
	for e, want := range map[syscall.Errno]Class{
		0: OK, unix.EAGAIN: Again, unix.EPIPE: Reset, unix.ECONNRESET: Reset, unix.EMFILE: Limit,
		unix.ENFILE: Limit, unix.ENOBUFS: Memory, unix.EINPROGRESS: InProgress, unix.EALREADY: InProgress,
		unix.ENETUNREACH: Unreachable, unix.EACCES: Other,
	} {
		if got := Classify(e); got != want {
			t.Errorf("%v is of class %d, want %d", e, got, want)
		}
	}
}

// TestHeldOffClientsWaitAndThoseLetInStay: loopback shakes hands within connect.
func TestHeldOffClientsWaitAndThoseLetInStay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has socket filters")
	}
	for _, listenOn := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := ListenTCP(netip.MustParseAddrPort(listenOn), ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer Close(ln)
		addr := LocalAddr(ln)
		early, _ := DialTCP(addr, netip.AddrPort{})
		defer Close(early)
		HoldOff(ln)
		late, _ := DialTCP(addr, netip.AddrPort{})
		defer Close(late)
		if e := ConnectResult(early, addr); e != 0 {
			t.Errorf("the client let in before: %v", e)
		}
		if e := ConnectResult(late, addr); Classify(e) != InProgress {
			t.Errorf("a client held off: %v", e)
		}
		fd, _, e := Accept(ln)
		if e != 0 {
			t.Fatal(e)
		}
		defer Close(fd)
		if _, e := Write(early, []byte("x")); e != 0 {
			t.Error(e)
		}
		readAll(t, fd, 1)
		if _, _, e := Accept(ln); Classify(e) != Again {
			t.Errorf("a second accept: %v", e)
		}
	}
}
