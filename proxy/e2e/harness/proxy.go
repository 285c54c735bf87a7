package harness

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/envoy"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Patience is how long anything awaited may take. It is long because machines may be busy; what
// works takes a small part of it.
const Patience = 20 * time.Second

// Eventually polls until ok says yes and fails the test when that takes too long. what completes
// "waited in vain for ...".
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !within(Patience, ok) {
		t.Fatalf("waited in vain for %s", what)
	}
}

func within(limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; !ok(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Proxy is a server under test.
type Proxy struct {
	T      testing.TB
	Server *proxy.Server
	// Addr is the address of the first listener.
	Addr string

	log     string
	origins []Origin
}

// Start starts the topology's proxy and has it checked and closed at the end of the test.
func Start(t testing.TB, top Topology) *Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	p := start(t, Load(t, top.YAML(log)), max(1, top.Loops), top.DrainTime)
	p.log = log
	for _, c := range top.Clusters {
		p.origins = append(p.origins, c.Origins...)
	}
	if !top.NotSettled {
		t.Cleanup(p.finish)
	}
	return p
}

// StartConf starts a proxy from a snapshot. origins are stopped before the final checks. Its access
// log lines are read from log, which may be empty.
func StartConf(t testing.TB, c *conf.Bootstrap, loops int, log string, origins ...Origin) *Proxy {
	t.Helper()
	p := start(t, c, loops, 0)
	p.log, p.origins = log, origins
	t.Cleanup(p.finish)
	return p
}

// StartOptions is StartConf for a server with options of its own.
func StartOptions(t testing.TB, o proxy.Options, log string, origins ...Origin) *Proxy {
	t.Helper()
	p := startOptions(t, o)
	p.log, p.origins = log, origins
	t.Cleanup(p.finish)
	return p
}

func start(t testing.TB, c *conf.Bootstrap, loops int, drain time.Duration) *Proxy {
	t.Helper()
	return startOptions(t, proxy.Options{Config: c, Concurrency: loops, DrainTime: drain})
}

func startOptions(t testing.TB, o proxy.Options) *Proxy {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &Proxy{T: t, Server: s, Addr: s.Listeners()[0].Addresses[0].String()}
}

// Load compiles an Envoy configuration.
func Load(t testing.TB, yaml string) *conf.Bootstrap {
	t.Helper()
	r, err := envoy.Load(envoy.Source{Data: []byte(yaml)})
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, yaml)
	}
	return r.Conf
}

// Apply gives the running server another topology; the access log stays.
func (p *Proxy) Apply(top Topology) {
	p.T.Helper()
	if err := p.Server.Apply(Load(p.T, top.YAML(p.log))); err != nil {
		p.T.Fatal(err)
	}
	for _, c := range top.Clusters {
		p.origins = append(p.origins, c.Origins...)
	}
}

// Stats maps full stat names to values; gauges and counters alike.
type Stats map[string]int64

// Stats returns every counter and gauge.
func (p *Proxy) Stats() Stats {
	m := p.Server.Registry().Collect()
	out := make(Stats, len(m.Counters)+len(m.Gauges))
	for _, c := range m.Counters {
		out[c.Name] = int64(c.Value)
	}
	for _, g := range m.Gauges {
		out[g.Name] = g.Value
	}
	return out
}

// Stat returns one counter or gauge, which must exist.
func (p *Proxy) Stat(name string) int64 {
	p.T.Helper()
	v, ok := p.Stats()[name]
	if !ok {
		p.T.Fatalf("there is no stat %q", name)
	}
	return v
}

// Histogram returns a histogram since the start; it must exist.
func (p *Proxy) Histogram(name string) *stats.Distribution {
	p.T.Helper()
	for _, h := range p.Server.Registry().Collect().Histograms {
		if h.Name == name {
			return h.Cumulative
		}
	}
	p.T.Fatalf("there is no histogram %q", name)
	return nil
}

// WantStats waits until the stats have these values. A stat that does not exist is 0 only when its
// name is a code's or a class's, which are made on first use.
func (p *Proxy) WantStats(want Stats) {
	p.T.Helper()
	var wrong []string
	settled := within(Patience/4, func() bool {
		have := p.Stats()
		wrong = wrong[:0]
		for name, v := range want {
			got, ok := have[name]
			switch {
			case !ok && !madeOnUse(name):
				wrong = append(wrong, fmt.Sprintf("there is no stat %s", name))
			case got != v:
				wrong = append(wrong, fmt.Sprintf("%s is %d, want %d", name, got, v))
			}
		}
		return len(wrong) == 0
	})
	if !settled {
		slices.Sort(wrong)
		p.T.Errorf("%s", strings.Join(wrong, "\n"))
	}
}

// madeOnUse says whether a stat is one of ROUTER 11.3's dynamic ones.
func madeOnUse(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	rest, ok := strings.CutPrefix(last, "upstream_rq_")
	return ok && (rest == "completed" || len(rest) == 3 && rest[0] >= '1' && rest[0] <= '5')
}

// Lines returns the access-log lines written so far.
func (p *Proxy) Lines() []string {
	p.T.Helper()
	p.Server.FlushLogs()
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.T.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")[:strings.Count(string(b), "\n")]
}

// AwaitLines waits until there are at least n lines and returns all.
func (p *Proxy) AwaitLines(n int) []string {
	p.T.Helper()
	var lines []string
	if !within(Patience, func() bool { lines = p.Lines(); return len(lines) >= n }) {
		p.T.Fatalf("the access log has %d lines, want %d: %q", len(lines), n, lines)
	}
	return lines
}

// WantLines waits for the access log to be exactly these lines, in this order.
func (p *Proxy) WantLines(want ...string) {
	p.T.Helper()
	if got := p.AwaitLines(len(want)); !slices.Equal(got, want) {
		p.T.Errorf("the access log is\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// WantLine waits for a log that is one line which begins with prefix.
func (p *Proxy) WantLine(prefix string) {
	p.T.Helper()
	if got := p.AwaitLines(1); len(got) != 1 || !strings.HasPrefix(got[0], prefix) {
		p.T.Errorf("the access log is\n\t%s\nwant one line that begins with\n\t%s", strings.Join(got, "\n\t"), prefix)
	}
}

// OnLoops runs f on every loop, one after the other.
func (p *Proxy) OnLoops(f func(w *worker.Worker)) { p.Server.VisitWorkers(f) }

// Buffered returns the bytes of the loops' buffers that are in use.
func (p *Proxy) Buffered() (n int) {
	got := make(chan int, 64)
	p.OnLoops(func(w *worker.Worker) { got <- w.Loop.Slabs().InUse() })
	close(got)
	for b := range got {
		n += b
	}
	return n
}
