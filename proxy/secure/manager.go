package secure

import (
	"log/slog"
	"math"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Options configure a Manager. Registry is required.
type Options struct {
	Registry *stats.Registry
	Log      *slog.Logger     // nil: slog.Default
	Now      func() time.Time // nil: time.Now
}

// Manager makes TLS contexts and follows their files. Its methods may be called from
// any goroutine but a loop: they read files.
type Manager struct {
	registry *stats.Registry
	log      *slog.Logger
	now      func() time.Time

	mu       sync.Mutex
	contexts []*managed
	watch    *watcher // nil until there is a file to follow
	closed   bool
}

// managed is what both kinds of context have for the Manager, whose lock guards what
// comes after stats.
type managed struct {
	manager *Manager
	scope   string // listener.<address>. or cluster.<name>.
	own     owner
	conf    any      // what it was made of
	names   []string // downstream: the filter chain's
	now     func() time.Time
	stats   *Stats

	paths  []string
	digest [32]byte // of the files it was built from, or could not be
	users  int
	said   string // the error that was logged last
}

// owner is a Downstream or an Upstream.
type owner interface {
	sources() []*conf.DataSource
	// build puts what the files hold in force, or changes nothing.
	build(m *material) error
	certificates(now time.Time) ContextCertificates
}

// New returns a Manager, which needs a Close.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Manager{registry: o.Registry, log: o.Log, now: o.Now}
}

// Downstream returns the context of a filter chain: the one there is if the same is in
// use, so that sessions outlive a change of the listener, else a new one. listener is
// how statistics call the listener, names are the filter chain's server names. Errors
// carry the path within c. It needs a Release.
func (m *Manager) Downstream(c *conf.DownstreamTLS, listener string, names []string) (*Downstream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	scope := "listener." + stats.Clean(listener) + "."
	if x := m.find(scope, c, names); x != nil {
		return x.own.(*Downstream), nil
	}
	d := newDownstream(c, names)
	if err := m.open(&d.managed, d, scope, c, names); err != nil {
		return nil, err
	}
	return d, nil
}

// Upstream is Downstream for a cluster's context, or one of its transport_socket_matches.
func (m *Manager) Upstream(c *conf.UpstreamTLS, cluster string) (*Upstream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	scope := "cluster." + stats.Clean(cluster) + "."
	if x := m.find(scope, c, nil); x != nil {
		return x.own.(*Upstream), nil
	}
	u := newUpstream(c)
	if err := m.open(&u.managed, u, scope, c, nil); err != nil {
		return nil, err
	}
	return u, nil
}

// find returns a context in use made of the same, with one more user.
func (m *Manager) find(scope string, c any, names []string) *managed {
	for _, x := range m.contexts {
		if x.scope == scope && slices.Equal(x.names, names) && reflect.DeepEqual(x.conf, c) {
			x.users++
			return x
		}
	}
	return nil
}

func (m *Manager) open(x *managed, own owner, scope string, c any, names []string) error {
	*x = managed{manager: m, scope: scope, own: own, conf: c, names: names, now: m.now, users: 1, paths: filesOf(own.sources())}
	files := readMaterial(x.paths)
	x.digest = files.digest
	if err := own.build(files); err != nil {
		return err
	}
	_, downstream := own.(*Downstream)
	x.stats = newStats(m.registry, scope, downstream)
	m.contexts = append(m.contexts, x)
	m.follow()
	return nil
}

// Release ends one use of the context. Connections made with it may go on.
func (x *managed) Release() {
	m := x.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	if x.users--; x.users > 0 {
		return
	}
	m.contexts = slices.DeleteFunc(m.contexts, func(y *managed) bool { return x == y })
	m.follow()
}

// follow sees to it that the files of all contexts are watched. Needs mu.
func (m *Manager) follow() {
	var paths []string
	for _, x := range m.contexts {
		paths = append(paths, x.paths...)
	}
	if m.watch == nil {
		if len(paths) == 0 || m.closed {
			return
		}
		m.watch = newWatcher(m)
	}
	m.watch.follow(paths)
}

// reload builds the contexts anew whose files hold something else.
func (m *Manager) reload() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.contexts {
		if len(x.paths) > 0 {
			x.reload()
		}
	}
}

func (x *managed) reload() {
	files := readMaterial(x.paths)
	if files.digest == x.digest {
		return
	}
	x.digest = files.digest
	log := x.manager.log.With("context", x.scope[:len(x.scope)-1])
	if err := x.own.build(files); err != nil {
		x.stats.socket.KeyRotationFailed.Inc()
		if text := err.Error(); text != x.said { // a file is often written in steps
			x.said = text
			log.Warn("TLS: changed files not usable, the old ones stay in force", "error", err)
		}
		return
	}
	x.said = ""
	x.stats.socket.SSLContextUpdateBySDS.Inc()
	log.Info("TLS: changed files are in force")
}

// Certificates lists the certificates of all contexts, for /certs.
func (m *Manager) Certificates() []ContextCertificates {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]ContextCertificates, len(m.contexts))
	for i, x := range m.contexts {
		out[i] = x.own.certificates(m.now())
	}
	return out
}

// DaysUntilFirstExpiry returns server.days_until_first_cert_expiring: 0 also when a
// certificate has expired, the largest 32-bit number when there is none.
func (m *Manager) DaysUntilFirstExpiry() int64 {
	days := uint64(math.MaxUint32)
	for _, c := range m.Certificates() {
		days = min(days, c.firstExpiry())
	}
	return int64(days)
}

// Close stops following files. Contexts stay usable.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	w := m.watch
	m.watch = nil
	m.mu.Unlock()
	if w != nil {
		w.close()
	}
}
