package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// memoryPair is a dialled and an accepted end on a loop, both scripted.
func memoryPair(t testing.TB, client, server *peer, bytes int) (*engine.Listener, *engine.Loop) {
	t.Helper()
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner", MemoryBytes: bytes}, func(c *engine.Conn) engine.Handler {
		server.conn = c
		return server
	})
	l := g.Loops()[0]
	dialInner(t, l, client)
	return ln, l
}

func dialInner(t testing.TB, l *engine.Loop, p *peer) {
	t.Helper()
	on(t, l, func() { p.conn = l.Dial(engine.DialSpec{Network: engine.Memory, Path: "inner"}, p) })
}

func (p *peer) awaitLog(t testing.TB, want string) {
	t.Helper()
	if !poll(func() bool { return p.log() == want }) {
		t.Errorf("events %q, want %q", p.log(), want)
	}
}

// Both ends have the events of sockets: bytes written before the connection is up, an echo, and FINs in both
// orders.
func TestMemoryEchoAndHalfClose(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("client first ", clientFirst), func(t *testing.T) {
			client, server := &peer{}, &peer{onData: echo}
			first, second := client, server
			if !clientFirst {
				first, second = server, client
			}
			ln, l := memoryPair(t, client, server, 0)
			on(t, l, func() {
				client.conn.Write([]byte("one "))
				client.conn.Write2([]byte("two "), []byte("three"))
				client.conn.Write(nil)
			})
			eventually(t, "the echo", func() bool { return client.got() == "one two three" })
			on(t, l, func() {
				if a := client.conn.LocalAddr(); a.IsValid() || client.conn.FD() != -1 || client.conn.RemoteAddr().IsValid() {
					t.Errorf("an address %v or descriptor %d", a, client.conn.FD())
				}
				if client.conn.BytesWritten() != 13 || client.conn.BytesRead() != 13 {
					t.Errorf("counted %d and %d", client.conn.BytesWritten(), client.conn.BytesRead())
				}
				first.conn.CloseWrite()
			})
			eventually(t, "the first FIN", func() bool { return strings.HasSuffix(second.log(), "readclosed") })
			on(t, l, func() { second.conn.Write([]byte("late")); second.conn.CloseWrite() })
			eventually(t, "what came after the FIN", func() bool { return strings.HasSuffix(first.got(), "late") })
			client.awaitLog(t, "connected, readclosed, closed "+engine.PeerClosed.String())
			server.awaitLog(t, "readclosed, closed "+engine.PeerClosed.String())
			eventually(t, "at rest", func() bool { return ln.Stats().Active == 0 })
			wantNothingLeft(t, l)
		})
	}
}

func wantNothingLeft(t testing.TB, l *engine.Loop) {
	t.Helper()
	on(t, l, func() {
		if n := l.Conns(); n != 0 {
			t.Errorf("%d connections", n)
		}
		if n := l.Slabs().InUse(); n != 0 {
			t.Errorf("%d bytes of buffers", n)
		}
	})
}

// A reader that pauses stops the writer: what is between the ends is bounded, the writer's chain crosses its
// watermarks, and every byte arrives once it reads again.
func TestMemoryBackpressure(t *testing.T) {
	const between, total = 10_000, 4 << 20
	client, server := &peer{}, &peer{}
	sent := 0
	data := make([]byte, total)
	for i := range data {
		data[i] = byte(i * i >> 5)
	}
	fill := func(c *engine.Conn) {
		for ; sent < total && !c.Above(); sent += 7000 {
			c.Write(data[sent:min(total, sent+7000)])
		}
		if sent >= total {
			c.CloseWrite()
		}
	}
	client.onConnected = func(c *engine.Conn) { c.SetWatermarks(50_000); fill(c) }
	client.onWritable = fill
	server.onReadClosed = (*engine.Conn).CloseWrite
	g := group(t, engine.Options{Loops: 1})
	serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner", MemoryBytes: between}, func(c *engine.Conn) engine.Handler {
		server.conn = c
		c.PauseRead()
		return server
	})
	l := g.Loops()[0]
	dialInner(t, l, client)
	for range 3 {
		on(t, l, func() {
			if !client.conn.Above() || client.conn.BytesWritten() != between || client.conn.Buffered() > 60_000 {
				t.Errorf("above %v, %d written, %d wait", client.conn.Above(), client.conn.BytesWritten(), client.conn.Buffered())
			}
			if n := l.Slabs().InUse(); n > 256<<10 {
				t.Errorf("%d bytes of buffers", n)
			}
		})
	}
	on(t, l, func() { server.conn.ResumeRead() })
	client.wantClosed(t, engine.PeerClosed)
	server.wantClosed(t, engine.PeerClosed)
	if !bytes.Equal([]byte(server.got()), data) {
		t.Errorf("%d bytes of %d", len(server.got()), total)
	}
	wantNothingLeft(t, l)
}

// How a connection ends, as over sockets: a reset, a close with bytes unread, which is a reset too, and one that
// flushes first.
func TestMemoryEndings(t *testing.T) {
	for _, row := range []struct {
		name           string
		end            func(server *engine.Conn)
		paused         bool // the server does not read what the client sent
		client, server engine.CloseReason
		got            string
	}{
		{"reset", (*engine.Conn).Reset, false, engine.PeerReset, engine.LocalReset, ""},
		{"close", func(c *engine.Conn) { c.Write([]byte("bye")); c.Close() }, false, engine.LocalClose, engine.LocalClose, "bye"},
		{"close with bytes unread", func(c *engine.Conn) { c.Write([]byte("bye")); c.Close() }, true, engine.PeerReset, engine.LocalClose, "bye"},
		{"close after flush", func(c *engine.Conn) { c.Write([]byte("bye")); c.CloseAfterFlush(time.Minute) }, false, engine.LocalClose, engine.LocalClose, "bye"},
	} {
		t.Run(row.name, func(t *testing.T) {
			client, server := &peer{onReadClosed: (*engine.Conn).Close}, &peer{}
			_, l := memoryPair(t, client, server, 0)
			eventually(t, "up", func() bool { return client.log() == "connected" })
			on(t, l, func() {
				if row.paused {
					server.conn.PauseRead()
				}
				client.conn.Write([]byte("hello"))
			})
			if !row.paused {
				eventually(t, "the greeting", func() bool { return server.got() == "hello" })
			}
			on(t, l, func() { row.end(server.conn) })
			client.wantClosed(t, row.client)
			server.wantClosed(t, row.server)
			if got := client.got(); got != row.got {
				t.Errorf("the client got %q", got)
			}
			wantNothingLeft(t, l)
		})
	}
}

// A write to an end that has gone fails, after what it had sent was read.
func TestMemoryWriteToTheGone(t *testing.T) {
	client, server := &peer{}, &peer{}
	_, l := memoryPair(t, client, server, 0)
	eventually(t, "up", func() bool { return client.log() == "connected" })
	on(t, l, func() {
		server.conn.Write([]byte("last words"))
		server.conn.Close()
		client.conn.Write([]byte("to nobody"))
	})
	client.wantClosed(t, engine.PeerReset)
	if got := client.got(); got != "last words" {
		t.Errorf("%q", got)
	}
	wantNothingLeft(t, l)
}

// Nobody listens, the acceptor refuses, the listener has its most connections, or is closed: as a port would.
func TestMemoryRefused(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	refused := func(what string) {
		t.Helper()
		p := &peer{}
		dialInner(t, l, p)
		p.wantClosed(t, engine.ConnectRefused)
		if p.log() != "closed "+engine.ConnectRefused.String() {
			t.Errorf("%s: %s", what, p.log())
		}
	}
	refused("no listener")
	spec := engine.ListenSpec{Network: engine.Memory, Addr: "inner", MaxConns: 1}
	ln := serve(t, g, spec, func(*engine.Conn) engine.Handler { return nil })
	refused("refusing acceptor")
	eventually(t, "counted", func() bool { s := ln.Stats(); return s.Refused == 1 && s.Active == 0 })
	_ = ln.Close()
	ln = serve(t, g, spec, func(*engine.Conn) engine.Handler { return &peer{} })
	in := &peer{}
	dialInner(t, l, in)
	eventually(t, "the first one", func() bool { return in.log() == "connected" })
	refused("the second of at most one")
	ln.Pause()
	refused("paused")
	ln.Resume()
	_ = ln.Close()
	refused("closed")
	if in.log() != "connected" {
		t.Errorf("closing the listener: %s", in.log())
	}
	on(t, l, func() { in.conn.Close() })
	in.wantClosed(t, engine.LocalClose)
	if _, err := g.Listen(engine.ListenSpec{Network: engine.Memory}, nil); err == nil {
		t.Error("a listener without a name")
	}
}

// The newest listener of a name gets the connections, and the older one again when that closes.
func TestMemoryNames(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	listen := func(answer string) *engine.Listener {
		return serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner"}, func(c *engine.Conn) engine.Handler {
			c.Write([]byte(answer))
			c.CloseWrite()
			return &peer{}
		})
	}
	want := func(answer string) {
		t.Helper()
		p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
		dialInner(t, l, p)
		p.wantClosed(t, engine.PeerClosed)
		if p.got() != answer {
			t.Errorf("%q, want %q", p.got(), answer)
		}
	}
	older := listen("older")
	want("older")
	newer := listen("newer")
	if newer.Addr().String() != "inner" || newer.Addr().Network() != engine.Memory {
		t.Error(newer.Addr())
	}
	want("newer")
	_ = newer.Close()
	want("older")
	newer = listen("newest")
	_ = older.Close()
	want("newest")
	_ = newer.Close()
}

// A listener that leads to itself ends, from OnAccept and from OnData, and one after the other makes no depth.
func TestMemoryDepth(t *testing.T) {
	for _, onAccept := range []bool{true, false} {
		t.Run(fmt.Sprint("on accept ", onAccept), func(t *testing.T) {
			g := group(t, engine.Options{Loops: 1})
			l := g.Loops()[0]
			reached, refused := 0, ""
			var further func(c *engine.Conn)
			ln := serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner"}, func(c *engine.Conn) engine.Handler {
				reached++
				if onAccept {
					further(c)
				}
				return &peer{onReadClosed: (*engine.Conn).Close, onData: func(c *engine.Conn, view []byte) int { further(c); return len(view) }}
			})
			further = func(c *engine.Conn) {
				next := &peer{}
				next.onClosed = func(d *engine.Conn) {
					if err := d.Err(); err != nil {
						refused = err.Error()
					}
					c.Close()
				}
				next.onReadClosed = (*engine.Conn).Close
				up := c.Loop().Dial(engine.DialSpec{Network: engine.Memory, Path: "inner"}, next)
				if !onAccept {
					up.Write([]byte("x"))
				}
			}
			for range 3 {
				p := &peer{onReadClosed: (*engine.Conn).Close}
				on(t, l, func() { reached, refused = 0, "" })
				dialInner(t, l, p)
				if !onAccept {
					on(t, l, func() { p.conn.Write([]byte("x")) })
				}
				eventually(t, "the end", p.isClosed)
				on(t, l, func() {
					if reached != 64 || refused != "more than 64 listeners of this process lead to each other" {
						t.Errorf("%d connections, then %q", reached, refused)
					}
				})
			}
			eventually(t, "at rest", func() bool { return ln.Stats().Active == 0 })
			wantNothingLeft(t, l)
		})
	}
	t.Run("one after the other", func(t *testing.T) {
		g := group(t, engine.Options{Loops: 1})
		l := g.Loops()[0]
		serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner"}, func(c *engine.Conn) engine.Handler {
			c.CloseWrite()
			return &peer{}
		})
		done := make(chan struct{})
		left := 200
		var dial func(l *engine.Loop)
		dial = func(l *engine.Loop) {
			p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
			p.onClosed = func(c *engine.Conn) {
				if left--; left == 0 || c.Err() != nil {
					close(done)
					return
				}
				dial(c.Loop()) // as a pool does
			}
			l.Dial(engine.DialSpec{Network: engine.Memory, Path: "inner"}, p)
		}
		on(t, l, func() { dial(l) })
		<-done
		on(t, l, func() {
			if left != 0 {
				t.Errorf("refused with %d to come", left)
			}
		})
	})
}

// A dial that is given up before it has its peer, and one that the stop of the group meets.
func TestMemoryGivenUpAndStopped(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	server := &peer{}
	serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner"}, func(*engine.Conn) engine.Handler { return server })
	p := &peer{}
	on(t, l, func() { l.Dial(engine.DialSpec{Network: engine.Memory, Path: "inner"}, p).Close() })
	p.wantClosed(t, engine.LocalClose)
	if server.log() != "" {
		t.Error(server.log())
	}
	wantNothingLeft(t, l)
	p = &peer{}
	dialInner(t, l, p)
	eventually(t, "up", func() bool { return p.log() == "connected" })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	p.wantClosed(t, engine.LoopStopped)
	server.wantClosed(t, engine.LoopStopped)
}

// Whatever the sizes of buffers, writes and what a reader takes at once, the bytes are the same.
func TestMemoryAnySplit(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		data := make([]byte, r.IntN(300_000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		client, server := &peer{}, &peer{}
		server.onReadClosed = func(c *engine.Conn) {
			server.add("kept %s", c.KeptView()) // what OnData left last
			c.CloseWrite()
		}
		server.onData = func(c *engine.Conn, view []byte) int {
			switch r.IntN(8) {
			case 0:
				return r.IntN(len(view) + 1)
			case 1:
				c.PauseRead()
				c.Loop().Defer(resumer{c})
			}
			return len(view)
		}
		_, l := memoryPair(t, client, server, 1+r.IntN(70_000))
		on(t, l, func() {
			for rest := data; len(rest) > 0; {
				a, b := r.IntN(min(len(rest), 40_000)+1), 0
				b = a + r.IntN(len(rest)-a+1)/3
				if r.IntN(2) == 0 {
					client.conn.Write2(rest[:a], rest[a:b])
				} else {
					client.conn.Cork()
					client.conn.Write(rest[:a])
					client.conn.Write(rest[a:b])
					client.conn.Uncork()
				}
				rest = rest[b:]
			}
			client.conn.CloseWrite()
		})
		client.wantClosed(t, engine.PeerClosed)
		kept, _, _ := strings.Cut(server.log(), ", closed ")
		_, kept, _ = strings.Cut(kept, "kept ")
		if got := server.got() + kept; got != string(data) {
			t.Fatalf("seed %d: %d bytes of %d, of which %d were kept", seed, len(got), len(data), len(kept))
		}
		wantNothingLeft(t, l)
	}
}

type resumer struct{ c *engine.Conn }

func (r resumer) Run(*engine.Loop) { r.c.ResumeRead() }
