package worker

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// quiet is the handler of a connection that is only written to.
type quiet struct{ up, closed chan struct{} }

func (q quiet) OnConnected(*engine.Conn)                  { close(q.up) }
func (quiet) OnData(_ *engine.Conn, view []byte) int      { return len(view) }
func (quiet) OnReadClosed(*engine.Conn)                   {}
func (quiet) OnWritable(*engine.Conn)                     {}
func (q quiet) OnClosed(*engine.Conn, engine.CloseReason) { close(q.closed) }

// dialled returns a connection of the worker's loop that is up, and a channel with all that its peer gets.
func dialled(t *testing.T, w *Worker) (c *engine.Conn, q quiet, got chan []byte) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	q, got = quiet{make(chan struct{}), make(chan struct{})}, make(chan []byte, 1)
	w.Do(func() { c = w.Loop.Dial(engine.DialSpec{Addr: netip.MustParseAddrPort(ln.Addr().String())}, q) }, time.Minute)
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer peer.Close()
		b, _ := io.ReadAll(peer)
		got <- b
	}()
	<-q.up
	return c, q, got
}

// What WriteSoon gets within an event leaves when it ends, in order, behind a head that is held; no more
// than a bound waits.
func TestWriteSoon(t *testing.T) {
	w := newWorker(t)
	a, qa, gotA := dialled(t, w)
	b, qb, gotB := dialled(t, w)
	var wantA, wantB []byte
	w.Do(func() {
		wantA = append(wantA, "head"...)
		w.HoldHead(a, append(w.HeadBuffer(a), "head"...))
		for i := range 1000 {
			p := bytes.Repeat([]byte{byte(i)}, i)
			wantA, wantB = append(wantA, p...), append(wantB, p[:i/7]...)
			w.WriteSoon(a, p)
			w.WriteSoon(b, p[:i/7])
			if n := a.Buffered(); n >= gatherBytes && !a.WriteBlocked() {
				t.Errorf("%d bytes wait", n)
			}
			if i == 10 && b.BytesWritten() > 0 {
				t.Error("bytes left within the event")
			}
		}
	}, time.Minute)
	w.Do(func() {
		if n := len(w.gathered.conns); n > 0 {
			t.Errorf("%d connections are still held back", n)
		}
		if b.Buffered() > 0 && b.BytesWritten() == 0 {
			t.Error("nothing left after the event")
		}
		w.WriteSoon(a, []byte("last")) // and then the FIN
		a.CloseWrite()
		b.CloseWrite()
	}, time.Minute)
	if got := <-gotA; !bytes.Equal(got, append(wantA, "last"...)) {
		t.Errorf("%d bytes of %d", len(got), len(wantA)+4)
	}
	if got := <-gotB; !bytes.Equal(got, wantB) {
		t.Errorf("%d bytes of %d", len(got), len(wantB))
	}
	<-qa.closed
	<-qb.closed
}

// A connection may be gone when the event ends.
func TestWriteSoonToOneThatCloses(t *testing.T) {
	w := newWorker(t)
	a, qa, gotA := dialled(t, w)
	b, qb, gotB := dialled(t, w)
	w.Do(func() {
		w.WriteSoon(a, []byte("lost"))
		w.WriteSoon(b, []byte("kept"))
		a.Close()
		w.WriteSoon(a, []byte("lost"))
		b.CloseAfterFlush(time.Minute)
	}, time.Minute)
	if got := <-gotA; len(got) > 0 {
		t.Errorf("%q", got)
	}
	if got := <-gotB; string(got) != "kept" {
		t.Errorf("%q", got)
	}
	<-qa.closed
	<-qb.closed
}
