package poll

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/logging"
)

// recorder counts what the poller reports and runs what the test asks.
type recorder struct {
	p             *Poller
	wakes, timers atomic.Int64
	onTimer       func()
	events        chan Events
	stop          atomic.Bool
}

func (r *recorder) OnEvent(_ int, ev Events) { r.events <- ev }

func (r *recorder) OnWake() {
	r.wakes.Add(1)
	if r.stop.Load() {
		r.p.Stop()
	}
}

func (r *recorder) OnTimer() {
	r.timers.Add(1)
	if r.onTimer != nil {
		r.onTimer()
	}
}

func run(t *testing.T, setUp func(r *recorder)) *recorder {
	t.Helper()
	r := &recorder{events: make(chan Events, 100)}
	p, err := New(r, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.p = p
	if setUp != nil {
		setUp(r)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run() }()
	t.Cleanup(func() {
		r.stop.Store(true)
		p.Wake()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestEveryWakeIsHeard(t *testing.T) {
	r := run(t, nil)
	for i := range int64(100) {
		r.p.Wake()
		eventually(t, "wake", func() bool { return r.wakes.Load() > i })
	}
}

func TestTimerFiresEachTimeItIsSet(t *testing.T) {
	var r *recorder
	began := time.Now()
	r = run(t, func(r *recorder) {
		r.onTimer = func() {
			if r.timers.Load() < 5 {
				r.p.SetTimer(2 * time.Millisecond)
			}
		}
		r.p.SetTimer(time.Hour)
		r.p.SetTimer(2 * time.Millisecond) // in place of the hour
	})
	eventually(t, "five times", func() bool { return r.timers.Load() == 5 })
	if d := time.Since(began); d < 10*time.Millisecond {
		t.Errorf("five times 2 ms took %v", d)
	}
}

// pair returns the descriptor of one end of a connection, and the other end.
func pair(t *testing.T) (fd int, other net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if other, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd()), other
}

func TestEventsOfASocket(t *testing.T) {
	fd, s := pair(t)
	r := run(t, func(r *recorder) {
		if err := r.p.Add(fd); err != nil {
			t.Fatal(err)
		}
	})
	var all Events
	see := func(what string, want Events) {
		t.Helper()
		eventually(t, what, func() bool {
			for {
				select {
				case ev := <-r.events:
					all |= ev
				default:
					return all&want == want
				}
			}
		})
		all = 0
	}
	see("room at first", Writable)
	_, _ = s.Write([]byte("x"))
	see("bytes", Readable)
	_ = s.(*net.TCPConn).CloseWrite()
	see("the FIN", Readable|Hangup)
	_ = s.(*net.TCPConn).SetLinger(0)
	s.Close()
	see("the reset", Readable|Writable|Hangup|Failed)
}

func TestGnetLogsToSlog(t *testing.T) {
	var b bytes.Buffer
	routeLogs(slog.New(slog.NewTextHandler(&b, nil)))
	logging.Errorf("no %s", "epoll")
	logging.Debugf("too much")
	if s := b.String(); !strings.Contains(s, `level=ERROR msg="no epoll" from=gnet`) || strings.Contains(s, "too much") {
		t.Errorf("logged %q", s)
	}
}
