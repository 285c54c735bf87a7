package relay_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// script is what the peers of one relayed connection do.
type script struct {
	up, down   int    // bytes of each stream
	pieceUp    int    // bytes of one write
	pieceDown  int    // likewise
	order      string // whose FIN is first
	early      int    // bytes that come before the origin is dialled
	slowClient bool   // reads small pieces
}

func (s script) streams() (up, down []byte) { return bulk[:s.up], bulk[5 : 5+s.down] }

// play runs the script and checks what both peers get.
func (s script) play(t *rapid.T, l *link, seed uint64) outcome {
	up, down := s.streams()
	send := func(c end, b []byte, piece int, after chan struct{}) {
		rng := rand.New(rand.NewPCG(seed, uint64(piece)))
		for len(b) > 0 {
			n := min(1+rng.IntN(piece), len(b))
			if _, err := c.Write(b[:n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			b = b[n:]
		}
		<-after
		_ = c.CloseWrite()
	}
	now, upEnded, downEnded := make(chan struct{}), make(chan struct{}), make(chan struct{})
	close(now)
	afterUp, afterDown := now, now
	switch s.order {
	case "client first":
		afterDown = upEnded
	case "origin first":
		afterUp = downEnded
	}
	wrote := make(chan struct{}, 2)
	go func() { send(l.client, up[s.early:], s.pieceUp, afterUp); wrote <- struct{}{} }()
	go func() { send(l.origin, down, s.pieceDown, afterDown); wrote <- struct{}{} }()
	receive := func(c end, want []byte, small bool, ended chan struct{}) error {
		got := make([]byte, 0, len(want)+1)
		for {
			room := cap(got) - len(got)
			if small {
				room = min(room, 700)
			}
			n, err := c.Read(got[len(got) : len(got)+room])
			got = got[:len(got)+n]
			if err != nil || len(got) > len(want) {
				close(ended)
				if !bytes.Equal(got, want) || err.Error() != "EOF" {
					return fmt.Errorf("%d bytes of %d, %v", len(got), len(want), err)
				}
				return nil
			}
		}
	}
	atOrigin := make(chan error, 1)
	go func() { atOrigin <- receive(l.origin, up, false, upEnded) }()
	if err := receive(l.client, down, s.slowClient, downEnded); err != nil {
		t.Errorf("down: %v", err)
	}
	if err := <-atOrigin; err != nil {
		t.Errorf("up: %v", err)
	}
	<-wrote
	<-wrote
	return l.wait()
}

// TestHoweverBytesMoveTheyAreTheSame: the same streams, copied or spliced, over TCP
// or unix sockets, dribbled or in bulk, through limits from one byte up, with early
// bytes or without, whichever side ends first, on one loop or more, give the same
// bytes, the same order of ends and the same counts.
func TestHoweverBytesMoveTheyAreTheSame(t *testing.T) {
	before := descriptors(t)
	groups := map[int]*engine.Group{}
	for _, n := range []int{1, 3} {
		g, err := engine.New(engine.Options{Loops: n})
		if err == nil {
			err = g.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		groups[n] = g
	}
	rapid.Check(t, func(rt *rapid.T) {
		limits := rapid.SampledFrom([]int{0, 1, 100, 4 << 10, 64 << 10, 200 << 10})
		o := relay.Options{
			NoSplice:  rapid.Bool().Draw(rt, "no splice"),
			LimitUp:   limits.Draw(rt, "limit up"),
			LimitDown: limits.Draw(rt, "limit down"),
		}
		g := groups[rapid.SampledFrom([]int{1, 3}).Draw(rt, "loops")]
		r := newRig(t, g, rapid.SampledFrom([]string{"tcp", "unix"}).Draw(rt, "network"), o)
		defer r.close()
		scripts := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) script {
			length := func(limit int, what string) int {
				n := rapid.SampledFrom([]int{0, 1, 150, 16 << 10, 100_000, 3 << 20, 6 << 20}).Draw(rt, what)
				if limit > 0 {
					n = min(n, limit<<11) // so many turns are enough
				}
				return n
			}
			piece := rapid.SampledFrom([]int{7, 1000, 70_000, 4 << 20})
			s := script{
				up:         length(o.LimitUp, "up"),
				down:       length(o.LimitDown, "down"),
				pieceUp:    piece.Draw(rt, "piece up"),
				pieceDown:  piece.Draw(rt, "piece down"),
				order:      rapid.SampledFrom([]string{"client first", "origin first", "any"}).Draw(rt, "order"),
				slowClient: rapid.Bool().Draw(rt, "slow client"),
			}
			if s.pieceUp == 7 { // a system call each
				s.up = min(s.up, 20_000)
			}
			if s.pieceDown == 7 {
				s.down = min(s.down, 20_000)
			}
			s.early = min(s.up, rapid.SampledFrom([]int{0, 0, 1, 4000, 60_000}).Draw(rt, "early"))
			return s
		}), 1, 3).Draw(rt, "scripts")
		links := make([]*link, len(scripts))
		for i, s := range scripts {
			fin := s.early > 0 && s.early == s.up && s.order != "origin first"
			links[i] = r.knock(bulk[:s.early], fin)
			links[i].accept(r)
		}
		done := make(chan outcome)
		for i, s := range scripts {
			go func() { done <- s.play(rt, links[i], uint64(i)) }()
		}
		var got, want [2]uint64
		for _, s := range scripts {
			out := <-done
			if !out.orderly() || out.idled {
				rt.Errorf("outcome %+v", out)
			}
			if out.count("paused up") != out.count("resumed up") || out.count("paused down") != out.count("resumed down") {
				rt.Errorf("events %q", out.events)
			}
			got = [2]uint64{got[0] + out.up, got[1] + out.down}
			want = [2]uint64{want[0] + uint64(s.up), want[1] + uint64(s.down)}
		}
		if got != want {
			rt.Errorf("moved %d, want %d", got, want)
		}
		for i, l := range g.Loops() {
			settled := make(chan int)
			l.Post(&call{func() { settled <- l.Slabs().InUse() }})
			if n := <-settled; n != 0 {
				rt.Errorf("loop %d has slabs of %d bytes in use", i, n)
			}
		}
	})
	for _, g := range groups {
		halt(t, g)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}
