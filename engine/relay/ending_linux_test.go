package relay_test

import (
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// inQueue returns how many received bytes wait in a TCP socket.
func inQueue(t testing.TB, fd int) int {
	const fionread = 0x541b
	var n int32
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), fionread, uintptr(unsafe.Pointer(&n))); e != 0 {
		t.Error(e)
	}
	return int(n)
}

// deaf returns an address where connecting neither works nor fails: a listener
// whose backlog is full.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	open := func() int {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		return fd
	}
	ln := open()
	if err := syscall.Bind(ln, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(ln, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(ln)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // on loopback each is established at once, or not at all
		_ = syscall.Connect(open(), sa)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port))
}

// taken returns what the relay's end of the client has received, read or not.
func (l *link) taken(g *engine.Group) (n int) {
	on(l.t, g, func() {
		up, _ := l.x.Moved()
		n = int(up) + inQueue(l.t, l.x.a.FD())
	})
	return n
}

// TestWhatAResetDownstreamSentIsFlushed: the reset is noticed though the upstream is
// not read, and nothing that had arrived is lost.
func TestWhatAResetDownstreamSentIsFlushed(t *testing.T) { // TCP-51
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		sent := bulk[:l.stuff(g, l.client, bulk)]
		arrived := l.taken(g)
		reset(l.client)
		l.heard(g, "flush")
		got := <-reading(l.origin)
		if len(got.b) < arrived {
			t.Errorf("the origin got %d bytes, %d had arrived", len(got.b), arrived)
		}
		got.mustBe(t, "up", sent[:min(len(got.b), len(sent))])
		out := l.wait()
		if out.up != uint64(len(got.b)) || out.a != engine.PeerReset || out.b != engine.LocalClose || out.count("flush") != 1 {
			t.Errorf("outcome %+v after %d bytes", out, len(got.b))
		}
	})
}

func TestAResetBeforeTheUpstreamIsUpCancelsIt(t *testing.T) { // TCP-8
	g := loops(t, 1)
	r := newRig(t, g, "tcp", relay.Options{})
	r.origin = engine.DialSpec{Addr: deaf(t)}
	l := r.knock(nil, false)
	l.x = <-r.began
	_, _ = l.client.Write([]byte("early"))
	eventually(t, g, "the bytes are there", func() bool { return unread(l.x.a.FD()) })
	reset(l.client)
	if out := l.wait(); out.up != 0 || len(out.events) != 0 || out.b != engine.LocalClose {
		t.Errorf("outcome %+v", out)
	}
}
