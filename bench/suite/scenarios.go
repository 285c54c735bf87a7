package suite

import (
	"context"
	"fmt"
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
	awaitData   bool // peers connect upstream at the client's first bytes
	tools       bool // wrk and h2load can drive it
	wire        peer.Wire
	h2load      bool // h2load drives it, always
	streams     int  // h2load: requests at a time on each connection; 0 is one
	load        bench.Load
	pipeline    int // redis-benchmark drives it, with that many commands at a time on each connection
	hold        int // idle connections to hold
	// run measures one proxy once.
	run func(ctx context.Context, r *runner, s *scenario, p *peer.Running) (report.Sample, error)
}

// idleConns is how many idle connections are held; slowBytes the response that nobody reads.
const (
	idleConns = 10_000
	slowPath  = "/bytes/1073741824"
)

// bulkMessage is the size of messages from which on peers do better with their settings for bulk.
const bulkMessage = 16 << 10

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
	once := closing // through TCP proxies; the request has 60 bytes then
	once.Header = nil
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
			name: "h1-table", title: "as h1-64, with 200 routes, header rules, retries and an access log, beside one route",
			metric: report.CPUPerRequest, mode: peer.Table, load: get(64, "/", helloBytes), run: runLoad,
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
		pingPong("l4-pingpong-64", "64 bytes", 64),
		pingPong("l4-pingpong-1k", "1 KiB", 1<<10),
		pingPong("l4-pingpong-4k", "4 KiB", 4<<10),
		pingPong("l4-pingpong-16k", "16 KiB", 16<<10),
		pingPong("l4-pingpong-64k", "64 KiB", 64<<10),
		bulk("l4-bulk-1", "1 connection", 1),
		bulk("l4-bulk-4", "4 connections", 4),
		bulk("l4-bulk-64", "64 connections", 64),
		tunnelled(bulk("tunnel-h1-bulk", "4 connections, two hops with a CONNECT over HTTP/1 between", 4), peer.TunnelH1),
		tunnelled(bulk("tunnel-h2-bulk", "4 connections, two hops with CONNECTs over HTTP/2 between", 4), peer.TunnelH2),
		tunnelled(pingPong("tunnel-h1-pingpong", "through two hops with CONNECTs over HTTP/1 between, 1 KiB", 1<<10), peer.TunnelH1),
		tunnelled(pingPong("tunnel-h2-pingpong", "through two hops with CONNECTs over HTTP/2 between, 1 KiB", 1<<10), peer.TunnelH2),
		{
			name: "l4-close", title: "TCP, a connection for 60 bytes there and 100 back, 64 at a time",
			metric: report.CPUPerRequest, mode: peer.TCP, load: once, run: runLoad,
		},
		{
			name: "l4-close-await", title: "TCP, as l4-close, connecting upstream when the client has sent",
			metric: report.CPUPerRequest, mode: peer.TCP, awaitData: true, load: once, run: runLoad,
		},
		{
			name: "tls-64", title: "HTTP/1 over TLS 1.3, keep-alive, small response, 64 connections",
			metric: report.CPUPerRequest, wire: peer.H1TLS, h2load: true, load: get(64, "/", helloBytes), run: runLoad,
		},
		{
			name: "tls-handshake", title: "TLS 1.3, a full handshake (P-256) and one HTTP/1 request on each connection, 64 at a time",
			metric: report.CPUPerRequest, wire: peer.H1TLS, load: closing, run: runLoad,
		},
		{
			name: "h2c-16x16", title: "HTTP/2 without TLS, small response, 16 connections of 16 streams",
			metric: report.CPUPerRequest, wire: peer.H2C, h2load: true, streams: 16, load: get(16, "/", helloBytes), run: runLoad,
		},
		{
			name: "h2-16x16", title: "HTTP/2 over TLS 1.3, small response, 16 connections of 16 streams",
			metric: report.CPUPerRequest, wire: peer.H2TLS, h2load: true, streams: 16, load: get(16, "/", helloBytes), run: runLoad,
		},
		redis("redis-1", "one command at a time", 1),
		redis("redis-16", "16 commands at a time", 16),
		{
			name: "idle-10000", title: "10,000 idle keep-alive connections",
			metric: report.BytesPerConn, hold: idleConns, run: runIdle,
		},
		{
			name: "tls-idle-10000", title: "10,000 idle keep-alive connections over TLS 1.3",
			metric: report.BytesPerConn, wire: peer.H1TLS, hold: idleConns, run: runIdle,
		},
		{
			name: "slow-reader", title: "a client that stops reading a 1 GiB response",
			metric: report.GrowthBytes, run: runSlowReader,
		},
		{
			name: "l4-idle-10000", title: "10,000 idle TCP connections, each with one upstream",
			metric: report.BytesPerConn, mode: peer.TCP, hold: idleConns, run: runIdle,
		},
		{
			name: "l4-slow-reader", title: "a TCP client that stops reading 1 GiB",
			metric: report.GrowthBytes, mode: peer.TCP, bulk: true, run: runSlowReader,
		},
	}
}

// pingPong is a scenario of one message in flight on each of 64 connections.
func pingPong(name, size string, n int) scenario {
	return scenario{
		name: name, title: "TCP, " + size + " there and back, 64 connections",
		metric: report.CPUPerRequest, mode: peer.TCP, bulk: n >= bulkMessage, load: bench.Load{Conns: 64, PingPongBytes: n}, run: runLoad,
	}
}

// bulk is a scenario of downloads without end.
func bulk(name, conns string, n int) scenario {
	return scenario{
		name: name, title: "TCP, downloads without end, " + conns,
		metric: report.CPUPerGB, mode: peer.TCP, bulk: true, load: bench.Load{Conns: n, SinkBytes: 1 << 20}, run: runLoad,
	}
}

// tunnelled is a scenario of TCP through two hops, beside the same without a tunnel.
func tunnelled(s scenario, mode peer.Mode) scenario {
	s.mode = mode
	return s
}

// fit holds fewer connections where the system does not allow a proxy enough files, and says so in the title.
func (s *scenario) fit(fileLimit int) {
	const others = 1000 // files besides
	files := 1          // for each connection; idle ones of HTTP share a few upstream
	if s.mode == peer.TCP {
		files = 2
	}
	if most := max(1, (fileLimit-others)/files); s.hold > most {
		s.hold = most
		s.title += fmt.Sprintf(" (%d: the system allows %d open files)", most, fileLimit)
	}
}

// upstream is the port of the origin that the scenario's load talks to, with the question to ask a proxy
// in front of it.
func (s *scenario) upstream(r *runner) (addr string, probe func(ctx context.Context, addr string) error) {
	switch {
	case s.pipeline > 0:
		return r.redisAddr, peer.ProbeRedis
	case s.inline():
		return r.inline.Addr(), peer.ProbeEcho
	case s.load.PingPongBytes > 0:
		return r.echo, peer.ProbeEcho
	case s.load.SinkBytes > 0:
		return r.source, peer.ProbeSource
	}
	return r.http, func(ctx context.Context, addr string) error { return peer.ProbeOver(ctx, addr, s.wire, r.identity) }
}

// inline reports whether the load's thread is the origin too, as it must be where messages are small: with a
// process at either end the load side is the limit before a cheap proxy is, which then has fewer messages a wake-up.
func (s *scenario) inline() bool {
	return s.load.PingPongBytes > 0 && s.load.PingPongBytes < bulkMessage
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
		Addr: p.Spec.Listen, Conns: 64, Duration: 300 * time.Millisecond, WantBytes: helloBytes, TLS: p.Spec.Identity.Client(p.Spec.Wire),
	})
	if err != nil {
		return 0, err
	}
	p.Refresh()
	u, err := p.Usage()
	return u.RSS, err
}

// runIdle measures what an idle keep-alive connection costs. The connections have served one request.
func runIdle(ctx context.Context, _ *runner, s *scenario, p *peer.Running) (m report.Sample, err error) {
	before, err := settled(ctx, p)
	if err != nil {
		return m, err
	}
	release, err := bench.Hold(ctx, p.Spec.Listen, "/", p.Spec.Identity.Client(p.Spec.Wire), s.hold, 64)
	if err != nil {
		return m, err
	}
	defer release()
	after, err := p.Usage()
	if err != nil {
		return m, err
	}
	m.RSS = after.RSS
	m.Cost = max(0, float64(after.RSS-before)) / float64(s.hold)
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
