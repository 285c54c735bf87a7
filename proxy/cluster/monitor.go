package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/proxy/cluster/health"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// maxChecks is how many health checks run at a time, over all clusters.
const maxChecks = 256

// monitor watches the health of one cluster's hosts: active checks, outlier detection, and what answers
// to requests say of their host. What it finds are flags of hosts, and with them a new set of hosts.
//
//	health.Checker (a goroutine for each host) --> checked ----\
//	loops: Host.Answered, Failed --> tell --> run ------------- > flags --> Cluster.show --> HostSet
//	timer (interval) --> loops' totals --> outlier.sweep ------/
//
// nil for clusters that have neither. Its fields are guarded by the cluster's mu.
type monitor struct {
	c       *Cluster
	watched watched
	tell    chan struct{}
	checker *health.Checker // nil: no active checks
	events  *health.EventLog
	outlier *outlier // nil: no outlier detection
	tallies func(c *Cluster, add func(h *Host, l *HostLoad))
	failed  func(c *Cluster, hosts []*Host)
	changed func(c *Cluster)

	unchecked int           // hosts that were not checked yet
	round     chan struct{} // closed when there are none, once waitsFor
	waitsFor  bool

	stopping chan struct{}
	stopped  chan struct{}
}

func (m *Manager) newMonitor(c *Cluster) (*monitor, error) {
	k := c.Conf
	if k.HealthCheck == nil && k.Outlier == nil {
		return nil, nil
	}
	o := &monitor{
		c: c, tell: make(chan struct{}, 1), round: make(chan struct{}), stopping: make(chan struct{}), stopped: make(chan struct{}),
		tallies: m.o.Tallies, failed: m.o.HostsFailed, changed: m.healthChanged,
	}
	o.watched = watched{tell: o.tell}
	if k.Outlier != nil {
		o.outlier = newOutlier(c, m.o.Runtime, stats.NewOutlierStats(m.o.Stats, statName(k)), m.o.Logger)
		o.watched.thresholds, o.watched.split = o.outlier.thresholds(), k.Outlier.Split
	}
	if h := k.HealthCheck; h != nil {
		if h.EventLogPath != "" {
			var err error
			if o.events, err = health.OpenEventLog(h.EventLogPath, m.o.Logger); err != nil {
				m.o.Logger.Error("no health check events", "cluster", k.Name, "error", err)
			}
		}
		checker, err := health.New(health.Options{
			Conf: h, Stats: stats.NewHealthCheckStats(m.o.Stats, statName(k)), Turns: m.checks, Used: c.used.Load,
			MinInterval: c.knobs.checkMinInterval, MaxInterval: c.knobs.checkMaxInterval, VerifyService: c.knobs.verifyService,
			Events: o.events, Told: o.checked,
		})
		if err != nil {
			return nil, err
		}
		o.checker = checker
	}
	return o, nil
}

// start begins to watch; the hosts that are there are watched, too.
func (o *monitor) start() {
	o.c.mu.Lock()
	for _, target := range o.c.targets {
		for _, h := range target {
			o.arrive(h)
		}
	}
	o.c.mu.Unlock()
	go o.run()
}

// stop ends everything and waits.
func (o *monitor) stop() {
	close(o.stopping)
	if o.checker != nil {
		o.checker.Close()
	}
	<-o.stopped
	o.events.Close()
	if o.outlier != nil {
		o.outlier.stats.EjectionsActive.Set(0)
	}
}

// prepare sets what a new host begins with, before anybody sees it: with active checks it is unhealthy
// until one succeeds.
func (c *Cluster) prepare(h *Host, e *conf.Endpoint) {
	h.check = e.HealthCheck
	o := c.monitor
	if c.slow != nil && (c.Conf.HealthCheck == nil || e.HealthCheck.Disabled) {
		h.healthySince.Store(now())
	}
	if o == nil {
		return
	}
	h.record = &record{watched: o.watched}
	if o.outlier != nil {
		h.ejection = new(ejection)
	}
	if o.checker != nil && !e.HealthCheck.Disabled {
		h.mark(FailedActive, true)
		if c.Conf.IgnoreNewUntilChecked {
			h.mark(PendingActive, true)
		}
	}
}

// arrive begins to watch a host. The caller holds mu.
func (o *monitor) arrive(h *Host) {
	if o.checker != nil && !h.check.Disabled {
		o.unchecked++
		h.unchecked = true
		o.checker.Add(o.c.checkTarget(h))
	}
}

// leave ends that. The caller holds mu.
func (o *monitor) leave(h *Host) {
	h.left = true
	if h.unchecked {
		h.unchecked = false
		o.unchecked--
		o.roundDone()
	}
	if o.checker != nil {
		o.checker.Remove(h)
	}
	if o.outlier != nil {
		o.outlier.forget(h)
	}
}

func (o *monitor) roundDone() {
	if o.waitsFor && o.unchecked == 0 {
		o.waitsFor = false
		close(o.round)
	}
}

// awaitRound returns a channel that is closed when every host was checked once.
func (o *monitor) awaitRound() <-chan struct{} {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.waitsFor = true
	o.roundDone()
	return o.round
}

// checked takes over what a check found. From the session's goroutine.
func (o *monitor) checked(t *health.Target, s health.State, change health.Change) {
	h, c := t.Of.(*Host), o.c
	c.mu.Lock()
	if h.left {
		c.mu.Unlock()
		return
	}
	was := h.Flags()
	h.mark(FailedActive, !s.Healthy)
	h.mark(DegradedActive, s.Degraded)
	h.mark(Excluded, s.Excluded)
	h.mark(ActiveTimeout, s.TimedOut)
	h.mark(PendingActive, false)
	if change == health.Changed && s.Healthy {
		h.healthySince.Store(now())
	}
	if s.Healthy && change != health.Pending && o.outlier != nil {
		o.outlier.checkedHealthy(h)
	}
	first := h.unchecked
	removed := o.settleRemoval(h)
	if is := h.Flags(); is != was && !removed {
		c.show(true)
	}
	if first {
		h.unchecked = false
		o.unchecked--
		o.roundDone()
	}
	c.mu.Unlock()
	if removed {
		o.gone([]*Host{h})
	}
	o.afterwards(h, was)
}

// afterwards tells those who mind that a host changed.
func (o *monitor) afterwards(h *Host, was HealthFlags) {
	is := h.Flags()
	if was.Excluded() != is.Excluded() || was&(unhealthyFlags|degradedFlags) != is&(unhealthyFlags|degradedFlags) {
		o.changed(o.c)
	}
	if was&FailedActive == 0 && is&FailedActive != 0 && o.failed != nil {
		o.failed(o.c, []*Host{h})
	}
}

// settleRemoval takes a host away that only stayed because it was healthy, and is not any more. The caller holds mu.
func (o *monitor) settleRemoval(h *Host) bool {
	if f := h.Flags(); f&PendingRemoval == 0 || f&FailedActive == 0 {
		return false
	}
	for i, target := range o.c.targets {
		if n := slices.Index(target, h); n >= 0 {
			o.c.targets[i] = slices.Delete(slices.Clone(target), n, n+1)
		}
	}
	o.c.free = append(o.c.free, h.Index)
	o.leave(h)
	o.c.Stats.MembershipChange.Inc()
	o.c.show(false)
	return true
}

func (o *monitor) gone(hosts []*Host) { o.c.gone(o.c, hosts) }

// run does what loops and the clock ask for.
func (o *monitor) run() {
	defer close(o.stopped)
	interval := time.Hour
	if o.outlier != nil {
		interval = o.outlier.interval()
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-o.stopping:
			return
		case <-o.tell:
			o.heard()
		case <-timer.C:
			if o.outlier != nil {
				o.sweep()
				interval = o.outlier.interval()
			}
			timer.Reset(interval)
		}
	}
}

// heard looks at the hosts whose counts crossed a threshold.
func (o *monitor) heard() {
	c, changed := o.c, false
	c.mu.Lock()
	for _, h := range c.hosts.Load().Hosts {
		crossed := h.record.crossed.Load()
		if crossed == 0 || h.left {
			continue
		}
		h.record.crossed.And(^crossed)
		if crossed&(1<<failedAtOnce) != 0 && o.checker != nil {
			o.checker.FailAtOnce(h)
		}
		for kind := range numConsecutive {
			if crossed&(1<<kind) != 0 && o.outlier.inARow(h, kind) {
				changed = true
			}
		}
	}
	if changed {
		c.show(true)
	}
	c.mu.Unlock()
	if changed {
		o.changed(c)
	}
}

// sweep is the end of an interval.
func (o *monitor) sweep() {
	totals := make(map[*Host]*HostLoad)
	if o.tallies != nil {
		o.tallies(o.c, func(h *Host, l *HostLoad) {
			if totals[h] == nil {
				totals[h] = new(HostLoad)
			}
			totals[h].Add(l)
		})
	}
	c := o.c
	c.mu.Lock()
	changed := o.outlier.sweep(c.hosts.Load().Hosts, totals)
	if changed {
		c.show(true)
	}
	c.mu.Unlock()
	if changed {
		o.changed(c)
	}
}

// checkTarget says how a host is checked.
func (c *Cluster) checkTarget(h *Host) *health.Target {
	t := &health.Target{Address: h.AddrText, Cluster: c.Conf.Name, Of: h, Authority: c.Conf.Name}
	switch k := c.Conf.HealthCheck; {
	case h.check.Hostname != "":
		t.Authority = h.check.Hostname
	case k.HTTP != nil && k.HTTP.Host != "":
		t.Authority = k.HTTP.Host
	case k.GRPC != nil && k.GRPC.Authority != "":
		t.Authority = k.GRPC.Authority
	}
	t.Dial = func(ctx context.Context, alpn []string) (net.Conn, error) { return c.dialCheck(ctx, h, alpn) }
	return t
}

// dialCheck connects to where a host is checked, over the transport that requests use.
func (c *Cluster) dialCheck(ctx context.Context, h *Host, alpn []string) (net.Conn, error) {
	network, address := "tcp", ""
	at := h.Address()
	switch a := h.check.Address; {
	case a.Pipe != "":
		network, address = "unix", a.Pipe
	case a.IP.IsValid():
		address = a.IP.String()
	case h.Pipe != "":
		network, address = "unix", h.Pipe
	case h.check.Port != 0:
		address = net.JoinHostPort(at.Addr().String(), strconv.Itoa(int(h.check.Port)))
	default:
		address = at.String()
	}
	var d net.Dialer
	if b := c.Conf.BindAddress; b.IsValid() && network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(b)
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if p := h.Proxy; p != nil {
		if err := introduce(conn, p); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if h.Secure == nil {
		return conn, nil
	}
	return secureCheck(ctx, conn, h.Secure, h.Hostname, alpn)
}

// introduce writes a PROXY header that speaks for nobody but this process.
func introduce(conn net.Conn, p *conf.UpstreamProxyProtocol) error {
	var header []byte
	if p.Version2 {
		header = proxyproto.AppendV2(nil, proxyproto.Local, netip.AddrPort{}, netip.AddrPort{}, nil)
	} else {
		at := func(a net.Addr) (out netip.AddrPort) {
			if t, ok := a.(*net.TCPAddr); ok {
				out = t.AddrPort()
			}
			return out
		}
		header = proxyproto.AppendV1(nil, at(conn.LocalAddr()), at(conn.RemoteAddr()))
	}
	_, err := conn.Write(header)
	return err
}

// secureCheck makes the handshake of a connection that a check is made over.
func secureCheck(ctx context.Context, conn net.Conn, u *secure.Upstream, host string, alpn []string) (net.Conn, error) {
	want := secure.Want{Host: host}
	if alpn != nil {
		want.ALPN = []byte(strings.Join(alpn, ","))
	}
	t := tls.Client(conn, u.ConfigFor(&want))
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}
