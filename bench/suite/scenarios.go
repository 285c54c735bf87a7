package suite

import (
	"context"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/bench/peer"
	"github.com/sluiceproxy/sluice/bench/report"
)

// scenario is one kind of work.
type scenario struct {
	name, title string
	metric      report.Metric
	mode        peer.Mode
	bulk        bool // peers are tuned for large bodies
	tools       bool // wrk and h2load can drive it
	load        bench.Load
	// run measures one proxy once.
	run func(ctx context.Context, r *runner, s *scenario, p *peer.Running) (report.Sample, error)
}

// idleConns is how many idle connections are held; slowBytes the response that nobody reads.
const (
	idleConns = 10_000
	slowPath  = "/bytes/1073741824"
)

// helloBytes is the size of the origin's small answer, drainBytes of its answer to a 64 KiB upload.
const (
	helloBytes = int64(len("hello from origin\n"))
	drainBytes = int64(len("65536 00000000\n"))
)

func scenarios() []scenario {
	// What a client sends as a rule; wrk gets the same.
	fields := [][2]string{{"User-Agent", "sluice-bench"}, {"Accept", "*/*"}}
	get := func(conns int, path string, want int64) bench.Load {
		return bench.Load{Conns: conns, Path: path, Header: fields, WantBytes: want}
	}
	upload := get(64, "/drain", drainBytes)
	upload.Method, upload.BodyBytes = "POST", 64<<10
	closing := get(64, "/", helloBytes)
	closing.CloseEach = true
	return []scenario{
		{
			name: "h1-64", title: "HTTP/1 keep-alive, small response, 64 connections",
			metric: report.CPUPerRequest, tools: true, load: get(64, "/", helloBytes), run: runLoad,
		},
		{
			name: "h1-512", title: "HTTP/1 keep-alive, small response, 512 connections",
			metric: report.CPUPerRequest, tools: true, load: get(512, "/", helloBytes), run: runLoad,
		},
		{
			name: "h1-10k", title: "HTTP/1 keep-alive, 10 KiB response, 64 connections",
			metric: report.CPUPerRequest, tools: true, load: get(64, "/bytes/10240", 10240), run: runLoad,
		},
		{
			name: "h1-1m", title: "HTTP/1 keep-alive, 1 MiB response, 16 connections",
			metric: report.CPUPerRequest, tools: true, bulk: true, load: get(16, "/bytes/1048576", 1<<20), run: runLoad,
		},
		{
			name: "h1-upload-64k", title: "HTTP/1 keep-alive, 64 KiB upload, 64 connections",
			metric: report.CPUPerRequest, load: upload, run: runLoad,
		},
		{
			name: "h1-close", title: "HTTP/1, one connection per request, 64 at a time",
			metric: report.CPUPerRequest, load: closing, run: runLoad,
		},
		{
			name: "l4-pingpong", title: "TCP, 64 bytes there and back, 64 connections",
			metric: report.CPUPerRequest, mode: peer.TCP, load: bench.Load{Conns: 64, PingPongBytes: 64}, run: runLoad,
		},
		{
			name: "l4-bulk", title: "TCP, 8 MiB downloads, 4 connections",
			metric: report.CPUPerGB, mode: peer.TCP, bulk: true, load: get(4, "/bytes/8388608", 8<<20), run: runLoad,
		},
		{
			name: "idle-10000", title: "10,000 idle keep-alive connections",
			metric: report.BytesPerConn, run: runIdle,
		},
		{
			name: "slow-reader", title: "a client that stops reading a 1 GiB response",
			metric: report.GrowthBytes, run: runSlowReader,
		},
	}
}

// Names lists the scenarios.
func Names() []string {
	all := scenarios()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return names
}

// settled is the proxy's memory after it has served for a moment, so that what it takes once is taken.
func settled(ctx context.Context, p *peer.Running) (rss int64, err error) {
	_, err = bench.Run(ctx, bench.Load{
		Addr: p.Spec.Listen, Conns: 64, Duration: 300 * time.Millisecond, WantBytes: helloBytes,
	})
	if err != nil {
		return 0, err
	}
	p.Refresh()
	u, err := p.Usage()
	return u.RSS, err
}

// runIdle measures what an idle keep-alive connection costs. The connections have served one request.
func runIdle(ctx context.Context, _ *runner, _ *scenario, p *peer.Running) (m report.Sample, err error) {
	before, err := settled(ctx, p)
	if err != nil {
		return m, err
	}
	release, err := bench.Hold(ctx, p.Spec.Listen, "/", idleConns, 64)
	if err != nil {
		return m, err
	}
	defer release()
	after, err := p.Usage()
	if err != nil {
		return m, err
	}
	m.RSS = after.RSS
	m.Cost = max(0, float64(after.RSS-before)) / idleConns
	return m, nil
}

// runSlowReader measures how much memory a proxy takes for one client that stops reading. What the
// kernel holds in socket buffers is not the proxy's and not counted.
func runSlowReader(ctx context.Context, r *runner, _ *scenario, p *peer.Running) (m report.Sample, err error) {
	before, err := settled(ctx, p)
	if err != nil {
		return m, err
	}
	c, err := bench.SlowRead(ctx, p.Spec.Listen, slowPath, 64<<10)
	if err != nil {
		return m, err
	}
	defer func() { _ = c.Close() }()
	for end := time.Now().Add(r.Profile.Watch); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		u, err := p.Usage()
		if err != nil {
			return m, err
		}
		m.RSS = max(m.RSS, u.RSS)
	}
	m.Cost = max(0, float64(m.RSS-before))
	return m, nil
}
