package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// leaving is how a soak session is over.
type leaving int

const (
	inOrder     leaving = iota // both send all, then a FIN
	clientFirst                // the origin's FIN follows the client's
	originFirst                // the client's FIN follows the origin's
	clientReset                // the client resets in the middle
	originReset                // the origin does
	clientGone                 // the client closes in the middle, whatever is under way
	originGone                 // the origin does
	numEndings
)

// errEarly says that the other end went before all was said, which some endings are.
var errEarly = errors.New("the connection ended early")

// soakPlan is what a session does; both ends make it from its number.
type soakPlan struct {
	ending   leaving
	up, down int64 // bytes
	// stop is after how many of its own bytes the end that leaves in the middle does.
	stop   int64
	pieces uint64 // seed of the sizes of writes
}

func planOf(number uint64) soakPlan {
	r := rand.New(rand.NewPCG(number, 11))
	size := func() int64 {
		if r.IntN(4) == 0 {
			return 0
		}
		return r.Int64N(2 << r.IntN(20))
	}
	p := soakPlan{ending: leaving(r.IntN(int(numEndings))), up: size(), down: size(), pieces: r.Uint64()}
	switch p.ending {
	case clientReset, clientGone:
		p.stop = r.Int64N(p.up + 1)
	case originReset, originGone:
		p.stop = r.Int64N(p.down + 1)
	}
	return p
}

// orderly says whether every byte must arrive.
func (p *soakPlan) orderly() bool { return p.ending <= originFirst }

// soakEnd is one end of a session: it sends n bytes and expects want of the other's.
type soakEnd struct {
	conn           *net.TCPConn
	in             io.Reader
	n, want        int64
	base, wantBase int64
	plan           *soakPlan
	reset, gone    bool // this end leaves in the middle
	last           bool // its FIN waits for the other's
}

func (e *soakEnd) run() error {
	over := make(chan error, 1)
	go func() { over <- e.read() }()
	err := e.write()
	if e.reset || e.gone {
		if e.reset {
			_ = e.conn.SetLinger(0)
		}
		_ = e.conn.Close()
		<-over
		return nil
	}
	if err == nil && e.last {
		err = <-over
		over <- nil
	}
	if err == nil {
		err = endedEarly(e.conn.CloseWrite())
	}
	return errors.Join(err, <-over)
}

// write sends in pieces of random sizes.
func (e *soakEnd) write() error {
	r := rand.New(rand.NewPCG(e.plan.pieces, uint64(e.base)))
	from := &harness.Stream{At: e.base}
	left := e.n
	if e.reset || e.gone {
		left = e.plan.stop
	}
	for left > 0 {
		b := make([]byte, min(left, 1+r.Int64N(2<<r.IntN(17))))
		_, _ = from.Read(b)
		if _, err := e.conn.Write(b); err != nil {
			return endedEarly(err)
		}
		left -= int64(len(b))
	}
	return nil
}

// read compares what comes; a part of it from the beginning is all that an early end leaves.
func (e *soakEnd) read() error {
	want := &harness.Stream{At: e.wantBase}
	_, err := io.Copy(want, struct{ io.Reader }{e.in})
	got := want.At - e.wantBase
	switch {
	case got > e.want:
		return fmt.Errorf("%d bytes came of %d", got, e.want)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("after %d bytes of %d nothing comes, no end either", got, e.want)
	case err != nil:
		return endedEarly(err)
	case got < e.want:
		return errEarly
	}
	return nil
}

// early makes errEarly of an error of the network's that another end's leaving brings.
func endedEarly(err error) error {
	var of *net.OpError
	if errors.As(err, &of) && !of.Timeout() {
		return errEarly
	}
	return err
}

// soak runs sessions through a proxy for some time.
type soak struct {
	t       *testing.T
	p       *harness.Proxy
	next    atomic.Uint64
	faulty  atomic.Bool
	kinds   [numEndings]atomic.Int64
	orderly atomic.Int64 // sessions whose origin end went well, of those of which that is expected
}

// judge reports what an end of a session should not have met.
func (s *soak) judge(number uint64, plan *soakPlan, who string, err error) {
	if err == nil || errors.Is(err, errEarly) && !plan.orderly() {
		return
	}
	s.faulty.Store(true)
	s.t.Errorf("session %d, ending %d, %d bytes up and %d down, at the %s: %v", number, plan.ending, plan.up, plan.down, who, err)
}

// serve is the origin: the session's number comes first, then the plan is known.
func (s *soak) serve(p *harness.Peer) {
	_ = p.SetDeadline(time.Now().Add(harness.Patience))
	var header [8]byte
	if _, err := io.ReadFull(p.In, header[:]); err != nil {
		return // a RST may overtake it
	}
	number := binary.BigEndian.Uint64(header[:])
	plan := planOf(number)
	e := &soakEnd{
		conn: p.TCPConn, in: p.In, n: plan.down, want: plan.up, base: int64(2*number+1) << 24, wantBase: int64(2*number) << 24, plan: &plan,
		reset: plan.ending == originReset, gone: plan.ending == originGone, last: plan.ending == clientFirst,
	}
	err := e.run()
	s.judge(number, &plan, "origin", err)
	if plan.orderly() && err == nil {
		s.orderly.Add(1)
	}
}

// session is one from the client's side.
func (s *soak) session(number uint64) {
	plan := planOf(number)
	s.kinds[plan.ending].Add(1)
	c, err := net.DialTimeout("tcp", s.p.Addr, harness.Patience)
	if err != nil {
		s.judge(number, &plan, "client", err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	_, err = c.Write(binary.BigEndian.AppendUint64(nil, number))
	if err == nil {
		err = (&soakEnd{
			conn: c.(*net.TCPConn), in: c, n: plan.up, want: plan.down, base: int64(2*number) << 24, wantBase: int64(2*number+1) << 24, plan: &plan,
			reset: plan.ending == clientReset, gone: plan.ending == clientGone, last: plan.ending == originFirst,
		}).run()
	}
	s.judge(number, &plan, "client", err)
}

// soakTime is SLUICE_RANDOM_SECONDS, else 3, but 10 at most.
func soakTime() time.Duration { return min(randomSeconds(), 10*time.Second) }

// Sessions of random lengths end in random ways, on both sides. Those that end in order lose nothing;
// of the others what arrives is right, and both ends hear of the end. The proxy comes to rest.
func TestPeerSoak(t *testing.T) {
	harness.NoLeaks(t)
	for name, limit := range map[string]string{"large buffers": "", "small buffers": "per_connection_buffer_limit_bytes: 4096"} {
		t.Run(name, func(t *testing.T) {
			s := &soak{t: t}
			clusters := to(harness.NewRaw(t, s.serve))
			clusters[0].Fields = limit
			s.p = harness.StartTCP(t, harness.TCPTopology{Loops: 2, Clusters: clusters, Listener: limit, Proxy: early(2000)})
			deadline := time.Now().Add(soakTime())
			var running sync.WaitGroup
			for range 32 {
				running.Go(func() {
					for time.Now().Before(deadline) && !s.faulty.Load() {
						s.session(s.next.Add(1))
					}
				})
			}
			running.Wait()
			n := int64(s.next.Load())
			lines := s.p.AwaitLines(int(n))
			if int64(len(lines)) != n {
				t.Errorf("%d log lines for %d sessions", len(lines), n)
			}
			for _, line := range lines {
				switch flags := strings.Fields(line)[1]; flags {
				case "-", "DC", "UC":
				default:
					t.Errorf("log line %q", line)
				}
			}
			s.p.WantStats(harness.Stats{inTCP + "downstream_cx_total": n, inTCP + "idle_timeout": 0, onOrigin + "upstream_cx_connect_fail": 0})
			var all []string
			for i := range s.kinds {
				all = append(all, fmt.Sprint(s.kinds[i].Load()))
				if s.kinds[i].Load() == 0 {
					t.Errorf("no session has ending %d", i)
				}
			}
			want := s.kinds[inOrder].Load() + s.kinds[clientFirst].Load() + s.kinds[originFirst].Load()
			harness.Eventually(t, "the origin's ends of those in order", func() bool { return s.orderly.Load() == want })
			t.Logf("sessions by ending: %s", strings.Join(all, ", "))
		})
	}
}
