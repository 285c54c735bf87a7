package proxy

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/generic"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/tokenbucket"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// State is how far the server has come; the names are those of /server_info.
type State int32

// Server states in order.
const (
	PreInitializing State = iota
	Initializing
	Live
	Draining
	stopped
)

// String returns the state as /ready prints it.
func (s State) String() string {
	switch s {
	case PreInitializing:
		return "PRE_INITIALIZING"
	case Initializing:
		return "INITIALIZING"
	case Live:
		return "LIVE"
	}
	return "DRAINING"
}

// Options configure a Server.
type Options struct {
	// Config is the first snapshot; required.
	Config *conf.Bootstrap
	// Concurrency is the number of loops; 0 means the usable cores.
	Concurrency int
	// Logger takes operational messages; nil discards them.
	Logger *slog.Logger
	// DrainTime bounds Drain; 0 means 600 s (--drain-time-s).
	DrainTime time.Duration
	// GradualDrain lets the share of responses that end their connection grow over DrainTime, instead of
	// ending every connection with its next response (--drain-strategy).
	GradualDrain bool
	// MaxConnections bounds accepted connections over all listeners; 0 none.
	MaxConnections int
	// NetworkFilters are the embedder's own, by the name that conf.NetworkFilter calls them.
	NetworkFilters map[string]network.Factory
	// HTTPFilters are the embedder's own, by the name that conf.HTTPFilter calls them.
	HTTPFilters map[string]filter.Factory
	// GenericCodecs and GenericFilters are the embedder's for generic proxies, by the names that
	// conf.GenericCodec and conf.GenericFilter call them.
	GenericCodecs  map[string]frame.Codec
	GenericFilters map[string]generic.FilterFactory
	// OnDemandClusters is asked for clusters that TCP proxies with on_demand name and the configuration
	// does not have; given the directory that on_demand names. nil: such a configuration is refused.
	OnDemandClusters func(path string) (cluster.Provider, error)
	// WarmTime bounds how long Start waits for clusters to resolve; 0 means 15 s.
	WarmTime time.Duration
}

// Server is a running proxy. Its methods may be called from any goroutine.
type Server struct {
	o        Options
	log      *slog.Logger
	registry *stats.Registry
	logs     *accesslog.Manager
	runtime  *runtime.Loader
	clusters *cluster.Manager
	group    *engine.Group
	workers  []*worker.Worker
	server   *stats.ServerStats
	manager  *stats.ListenerManagerStats
	updates  updateStats
	started  time.Time
	state    atomic.Int32
	// looping is true while the loops own the workers; before and after, whoever holds offLoop does.
	looping atomic.Bool
	offLoop sync.Mutex
	// healthFailed is set by /healthcheck/fail.
	healthFailed atomic.Bool
	// running ends when Close begins.
	running context.Context
	stop    context.CancelFunc

	// mu serialises Apply, Drain and Close and guards what follows.
	mu             sync.Mutex
	config         *conf.Bootstrap
	updated        time.Time
	listeners      map[string]*activeListener
	leaving        map[*activeListener]struct{}
	lastError      error
	failedAt       time.Time
	sockets        map[string]*socketCounts // by the listener's name in statistics
	flusher        *flusher
	drainingChains atomic.Int64
	buckets        *tokenbucket.Buckets
	secure         *secure.Manager
	tls            *tlsio.Layer
	providers      map[string]cluster.Provider // by on_demand's path
	// background are goroutines that end soon after running does; begun under mu, before Close.
	background sync.WaitGroup
	done       chan struct{}
}

// New compiles the snapshot and opens every listening socket, so that a bad address fails here.
// Nothing is accepted before Start.
func New(o Options) (*Server, error) {
	if o.Config == nil {
		return nil, errors.New("proxy: no configuration")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.DrainTime == 0 {
		o.DrainTime = 600 * time.Second
	}
	if o.WarmTime == 0 {
		o.WarmTime = 15 * time.Second
	}
	s := &Server{
		o: o, log: o.Logger, registry: stats.NewRegistry(), started: time.Now(),
		listeners: make(map[string]*activeListener), leaving: make(map[*activeListener]struct{}), providers: make(map[string]cluster.Provider),
		buckets: new(tokenbucket.Buckets), sockets: make(map[string]*socketCounts), done: make(chan struct{}),
	}
	if o.MaxConnections == 0 {
		// Envoy's runtime key for a limit over all listeners.
		o.MaxConnections, _ = strconv.Atoi(o.Config.Runtime["overload.global_downstream_max_connections"])
	}
	s.running, s.stop = context.WithCancel(context.Background())
	group, err := engine.New(engine.Options{Loops: o.Concurrency, MaxConns: o.MaxConnections, Logger: o.Logger})
	if err != nil {
		s.stop()
		return nil, err
	}
	s.group = group
	s.logs = accesslog.NewManager(o.Config.AccessLogFlushInterval, o.Logger)
	s.logs.SetStats(s.registry)
	s.runtime = runtime.New(s.registry, o.Logger)
	s.logs.SetRuntime(s.runtime)
	s.secure = secure.New(secure.Options{Registry: s.registry, Log: o.Logger})
	s.tls = tlsio.New(tlsio.Options{})
	s.clusters = cluster.NewManager(cluster.Options{
		Stats: s.registry, Logger: o.Logger, HostsGone: s.hostsGone, ClustersGone: s.clustersGone, Secure: s.secure, Runtime: s.runtime,
		HostsFailed: s.hostsFailed, HostsChanged: s.hostsChanged, Tallies: s.tallies,
	})
	node := o.Config.Node
	s.clusters.SetLocal(o.Config.LocalCluster, node.Region, node.Zone, node.SubZone)
	s.server = stats.NewServerStats(s.registry, func() int64 { return int64(time.Since(s.started) / time.Second) })
	s.manager = stats.NewListenerManagerStats(s.registry)
	for _, l := range group.Loops() {
		w := worker.New(l, s.registry.NewShard(), s.logs.NewShard(), s.clusters)
		w.Secure = s.secureEndpoint
		w.Zone = o.Config.Node.Zone
		s.workers = append(s.workers, w)
	}
	s.registry.SetCollector(s.visitShards)
	s.serverGauges()
	if err := s.Apply(o.Config); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) serverGauges() {
	s.server.Concurrency.Set(int64(len(s.workers)))
	s.manager.WorkersStarted.Set(0)
	s.updates = newUpdateStats(s.registry)
	s.registry.GaugeFunc("server.live", func() int64 {
		if s.State() == Live && !s.healthFailed.Load() {
			return 1
		}
		return 0
	})
	s.registry.GaugeFunc("server.state", func() int64 {
		switch s.State() {
		case Live:
			return 0
		case PreInitializing:
			return 2
		case Initializing:
			return 3
		}
		return 1
	})
	s.registry.GaugeFunc("server.days_until_first_cert_expiring", s.secure.DaysUntilFirstExpiry)
	s.registry.GaugeFunc("server.total_connections", func() int64 { return int64(s.Connections()) })
}

// State returns how far the server has come.
func (s *Server) State() State {
	st := State(s.state.Load())
	if st == Live && s.healthFailed.Load() {
		return Draining
	}
	return st
}

// FailHealthCheck makes the server say DRAINING and every response of the listeners whose drain_type
// is DEFAULT the last of its connection (/healthcheck/fail, OP-50), or takes that back.
func (s *Server) FailHealthCheck(fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healthFailed.Store(fail)
	for _, l := range s.listeners {
		l.failHealth(s, fail)
	}
}

// Start resolves the clusters and begins to accept. It returns when the server is live, or when ctx
// ends.
func (s *Server) Start(ctx context.Context) error {
	if !s.state.CompareAndSwap(int32(PreInitializing), int32(Initializing)) {
		return errors.New("proxy: the server was started or closed before")
	}
	began := time.Now()
	limit := time.NewTimer(s.o.WarmTime)
	defer limit.Stop()
	select {
	case <-s.clusters.Ready():
	case <-ctx.Done():
		return ctx.Err()
	case <-s.running.Done():
		return errors.New("proxy: the server was closed")
	case <-limit.C:
		s.log.Warn("not every cluster is resolved; starting without", "waited", s.o.WarmTime)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLooping(true)
	if err := s.group.Start(); err != nil {
		s.setLooping(false)
		return err
	}
	s.flusher = startFlusher(s)
	s.state.Store(int32(Live))
	s.server.InitializationTimeMs.Record(uint64(time.Since(began) / time.Millisecond))
	for _, l := range s.listeners {
		for _, a := range l.addrs() {
			s.log.Info("listening", "listener", l.conf.Name, "address", a)
		}
	}
	return nil
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Registry returns the statistics.
func (s *Server) Registry() *stats.Registry { return s.registry }

// Runtime returns the values that may change while the server runs.
func (s *Server) Runtime() *runtime.Loader { return s.runtime }

// Logs returns the access logs, for reopening.
func (s *Server) Logs() *accesslog.Manager { return s.logs }

// ServerStats returns the server's own series.
func (s *Server) ServerStats() *stats.ServerStats { return s.server }

// Started returns when the server was made.
func (s *Server) Started() time.Time { return s.started }

// Config returns the snapshot in force and when it was applied.
func (s *Server) Config() (*conf.Bootstrap, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config, s.updated
}

// LastError returns when and why the last snapshot was rejected; nil when it was taken.
func (s *Server) LastError() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failedAt, s.lastError
}

// Reject notes that a new configuration could not even be read: the running one stays, and the
// reason is shown as if Apply had refused it.
func (s *Server) Reject(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteUpdate(err)
}

// visitWait bounds how long a reader of statistics waits for one loop.
const visitWait = 2 * time.Second

// onLoop runs f on a worker's loop when it runs, else in place.
// It reports whether f ran; when not, it never will.
func (s *Server) onLoop(w *worker.Worker, f func()) bool {
	if !s.looping.Load() {
		s.offLoop.Lock()
		if !s.looping.Load() {
			defer s.offLoop.Unlock()
			f()
			return true
		}
		s.offLoop.Unlock()
	}
	return w.Do(f, visitWait)
}

// setLooping hands the workers to the loops, or takes them back.
func (s *Server) setLooping(on bool) {
	s.offLoop.Lock()
	s.looping.Store(on)
	s.offLoop.Unlock()
}

func (s *Server) visitShards(visit func(*stats.Shard)) {
	for _, w := range s.workers {
		s.onLoop(w, func() {
			w.Settle()
			visit(w.Stats)
		})
	}
}

// VisitWorkers runs f on every loop, one after the other, and waits (at most 2 s for each).
func (s *Server) VisitWorkers(f func(w *worker.Worker)) {
	for _, w := range s.workers {
		s.onLoop(w, func() { f(w) })
	}
}

// hostsGone and clustersGone are the cluster manager's callbacks: the loops drop their connections.
func (s *Server) hostsGone(c *cluster.Cluster, gone []*cluster.Host) {
	for _, w := range s.workers {
		s.onLoop(w, func() { w.ForgetHosts(c, gone) })
	}
}

// hostsFailed is another: what idles towards unhealthy hosts is closed, and TCP sessions with
// close_connections_on_host_health_failure.
func (s *Server) hostsFailed(c *cluster.Cluster, failed []*cluster.Host) {
	for _, w := range s.workers {
		s.onLoop(w, func() { w.DrainHosts(c, failed, c.Conf.CloseOnHealthFailure) })
	}
}

// hostsChanged is another: with close_connections_on_host_set_change no connection outlives a change.
func (s *Server) hostsChanged(c *cluster.Cluster) {
	if c.Conf.CloseOnHostChange {
		for _, w := range s.workers {
			s.onLoop(w, func() { w.DrainHosts(c, c.Hosts().Hosts, false) })
		}
	}
}

// tallies gives the cluster manager what each loop counted of a cluster's hosts.
func (s *Server) tallies(c *cluster.Cluster, add func(h *cluster.Host, l *cluster.HostLoad)) {
	type one struct {
		h *cluster.Host
		l cluster.HostLoad
	}
	for _, w := range s.workers {
		var part []one
		ran := s.onLoop(w, func() {
			w.VisitHosts(c, func(h *cluster.Host, l *cluster.HostLoad) { part = append(part, one{h, *l}) })
		})
		if !ran {
			continue
		}
		for i := range part {
			add(part[i].h, &part[i].l)
		}
	}
}

func (s *Server) clustersGone(gone []*cluster.Cluster) {
	for _, w := range s.workers {
		s.onLoop(w, func() { w.Forget(gone) })
	}
}

// Warming returns the names of the clusters that wait for their first addresses, sorted.
func (s *Server) Warming() []string { return s.clusters.Warming() }

// Clusters returns the clusters that serve now, sorted by name.
func (s *Server) Clusters() []*cluster.Cluster { return s.clusters.Set().Clusters() }

// Connections returns the accepted connections that are open.
func (s *Server) Connections() int { return s.group.Active() }

// Certificates returns the certificates of all TLS contexts, for /certs.
func (s *Server) Certificates() []secure.ContextCertificates { return s.secure.Certificates() }

// Close ends the server now: connections are reset, logs are flushed.
func (s *Server) Close() error {
	s.stop()
	err := s.close()
	s.background.Wait()
	return err
}

func (s *Server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if State(s.state.Swap(int32(stopped))) == stopped {
		return nil
	}
	if s.flusher != nil {
		s.flusher.stop()
	}
	for _, l := range s.listeners {
		l.close()
	}
	s.runtime.Close()
	s.secure.Close()
	s.clusters.Close() // first: its answers may be on their way to a loop
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.group.Stop(ctx)
	if err == nil {
		s.setLooping(false) // else a loop may still be at work
	}
	for _, w := range s.workers {
		s.onLoop(w, w.Logs.Flush)
	}
	s.logs.Close()
	close(s.done)
	return err
}

// provider returns what looks up clusters at a path; the same for the same path as long as the server
// runs. Needs mu.
func (s *Server) provider(path string) (cluster.Provider, error) {
	if p := s.providers[path]; p != nil {
		return p, nil
	}
	if s.o.OnDemandClusters == nil {
		return nil, errors.New("nothing looks clusters up (Options.OnDemandClusters)")
	}
	p, err := s.o.OnDemandClusters(path)
	if err == nil {
		s.providers[path] = p
	}
	return p, err
}

// dropProviders lets go of what no listener of b asks any more, and of the clusters it gave. Needs mu.
func (s *Server) dropProviders(b *conf.Bootstrap) {
	used := make(map[string]bool)
	for _, l := range b.Listeners {
		for _, c := range l.Chains() {
			if c.TCP != nil && c.TCP.OnDemand != nil {
				used[c.TCP.OnDemand.Path] = true
			}
		}
	}
	for path, p := range s.providers {
		if !used[path] {
			delete(s.providers, path)
			s.clusters.RemoveProvider(p)
		}
	}
}
