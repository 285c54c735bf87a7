package engine

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// idler is a raw reader that reads only when it is told to.
type idler struct {
	told  int
	eager bool
	got   []byte
	last  IOState
}

func (r *idler) OnReadable(c *Conn) {
	r.told++
	if r.eager {
		r.read(c)
	}
}

func (r *idler) read(c *Conn) {
	for drained := false; !drained; {
		var n int
		b := make([]byte, 100)
		n, drained, r.last = c.ReadRaw(b)
		r.got = append(r.got, b[:n]...)
	}
}

// accepted returns a connection that r reads, and the client's end of it.
func accepted(t *testing.T, r *idler) (*Loop, *Conn, net.Conn, *end) {
	t.Helper()
	e := newEnd()
	up := make(chan *Conn, 1)
	l, ln := oneLoop(t, func(c *Conn) Handler {
		c.SetRawReader(r)
		up <- c
		return e
	})
	client := dialTest(t, ln)
	return l, <-up, client, e
}

// until asks on the loop.
func until(t *testing.T, l *Loop, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var yes bool
		if onLoop(t, l, func() { yes = ok() }); yes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestBytesThatNobodyReadsAreNotAnnouncedAgainAndAgain: while a relay's destination has no room, its source's
// segments are no reason to wake.
func TestBytesThatNobodyReadsAreNotAnnouncedAgainAndAgain(t *testing.T) {
	r := &idler{}
	l, c, client, _ := accepted(t, r)
	var sent []byte
	send := func(p string) {
		sent = append(sent, p...)
		if _, err := io.WriteString(client, p); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		var before int
		onLoop(t, l, func() { before, r.eager = r.told, false })
		for i := 0; ; i++ { // until it has been told twice
			send("a")
			var muted bool
			onLoop(t, l, func() { muted = c.flags&fMuted != 0 })
			if muted {
				break
			}
			if i == 1000 {
				t.Fatal("never muted")
			}
		}
		for range 200 {
			send("b")
			onLoop(t, l, func() {}) // a turn of the loop
		}
		onLoop(t, l, func() {
			// A first piece and one in vain; and what was on its way when the poller was told.
			if n := r.told - before; n > 5 {
				t.Errorf("round %d: told %d times of bytes it does not read", round, n)
			}
			r.eager = true
			r.read(c)
			if c.flags&(fMuted|fUnread) != 0 || r.last == IOFailed {
				t.Errorf("round %d: after reading: muted %t, %v", round, c.flags&fMuted != 0, r.last)
			}
		})
		send("c") // and from now on it is told again
		until(t, l, "all bytes", func() bool { return bytes.Equal(r.got, sent) })
	}
}

// TestARawReaderIsToldOfBytesAlone: where none wait, it does not look in vain.
func TestARawReaderIsToldOfBytesAlone(t *testing.T) {
	r := &idler{eager: true}
	l, c, client, _ := accepted(t, r)
	onLoop(t, l, func() {
		if r.told != 0 {
			t.Errorf("told %d times of nothing", r.told)
		}
	})
	_, _ = io.WriteString(client, "x")
	until(t, l, "a byte", func() bool { return r.told == 1 && string(r.got) == "x" })
	onLoop(t, l, func() {
		c.SetRawReader(nil)
		c.PauseRead()
	})
	_, _ = io.WriteString(client, "y")
	until(t, l, "a byte that waits", func() bool { return c.flags&fReadReady != 0 })
	onLoop(t, l, func() {
		c.SetRawReader(r)
		c.ResumeRead()
	})
	until(t, l, "that byte", func() bool { return string(r.got) == "xy" })
}

// TestTheEndIsHeardByWhoDoesNotRead: the FIN and the reset of a peer whose bytes are not asked for.
func TestTheEndIsHeardByWhoDoesNotRead(t *testing.T) {
	muted := func(t *testing.T) (*Loop, *Conn, *net.TCPConn, *idler, *end) {
		r := &idler{}
		l, c, client, e := accepted(t, r)
		until(t, l, "muted", func() bool {
			_, _ = io.WriteString(client, "x")
			return c.flags&fMuted != 0
		})
		return l, c, client.(*net.TCPConn), r, e
	}
	t.Run("FIN", func(t *testing.T) {
		l, c, client, r, e := muted(t)
		_ = client.CloseWrite()
		until(t, l, "the FIN", func() bool { return c.flags&fHup != 0 })
		onLoop(t, l, func() {
			if r.read(c); r.last != IOEnd {
				t.Errorf("read to the end: %v", r.last)
			}
			c.CloseWrite()
		})
		e.want(t, PeerClosed)
	})
	t.Run("reset", func(t *testing.T) {
		l, c, client, r, e := muted(t)
		_ = client.SetLinger(0)
		client.Close()
		until(t, l, "the reset", func() bool { return c.PeerLost() })
		onLoop(t, l, func() { r.read(c) })
		e.want(t, PeerReset)
	})
}

// TestBackToTheHandlerAfterBytesThatNobodyRead: SetRawReader(nil) reads them for OnData, and what comes later too.
func TestBackToTheHandlerAfterBytesThatNobodyRead(t *testing.T) {
	r := &idler{}
	l, c, client, e := accepted(t, r)
	var got []byte
	e.onData = func(_ *Conn, view []byte) int {
		got = append(got, view...)
		return len(view)
	}
	sent := 0
	until(t, l, "muted", func() bool {
		_, _ = io.WriteString(client, "x")
		sent++
		return c.flags&fMuted != 0
	})
	onLoop(t, l, func() { c.SetRawReader(nil) })
	until(t, l, "what waited", func() bool { return len(got) == sent && c.flags&fMuted == 0 })
	_, _ = io.WriteString(client, "y")
	until(t, l, "what came then", func() bool { return len(got) == sent+1 })
}

// TestWhatThePollerIsAskedFor follows a dialled connection: room is reported until it was so in vain, and from the
// first blocked write on for good.
func TestWhatThePollerIsAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	peer, err := net.Listen("unix", path) // connects at once, so that the first word of room is in vain
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	l, _ := oneLoop(t, func(*Conn) Handler { return nil })
	var c *Conn
	onLoop(t, l, func() {
		c = l.Dial(DialSpec{Network: "unix", Path: path}, newEnd())
		if c.asks != asksRoomToo {
			t.Errorf("dialled: asks for %d", c.asks)
		}
	})
	s, err := peer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(10 * time.Second))
	until(t, l, "room in vain", func() bool { return c.asks == asksReads })
	const n = 8 << 20
	onLoop(t, l, func() {
		c.Write(make([]byte, n))
		if c.asks != asksAll || !c.WriteBlocked() {
			t.Errorf("blocked (%t): asks for %d", c.WriteBlocked(), c.asks)
		}
	})
	if _, err := io.ReadFull(s, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	until(t, l, "room again", func() bool { return !c.WriteBlocked() })
	onLoop(t, l, func() {
		if c.asks != asksAll {
			t.Errorf("at the end: asks for %d", c.asks)
		}
	})
}

// TestAConnectionWhoseEventsEndIsClosed takes it out of the poller behind the engine's back.
func TestAConnectionWhoseEventsEndIsClosed(t *testing.T) {
	for name, use := range map[string]func(c *Conn){
		"unread":  func(c *Conn) { c.flags |= fUnread; c.unread() },
		"drained": func(c *Conn) { c.flags |= fMuted; c.drained() },
		"block":   func(c *Conn) { c.block() },
		"narrow":  func(c *Conn) { c.asks = asksRoomToo; c.narrow() },
	} {
		t.Run(name, func(t *testing.T) {
			l, c, _, e := accepted(t, &idler{})
			until(t, l, "registered", func() bool { return l.slots[c.fd] == c })
			onLoop(t, l, func() {
				l.poller.Remove(int(c.fd))
				use(c)
			})
			e.want(t, IOError)
		})
	}
}
