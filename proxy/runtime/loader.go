package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// What the admin layer may hold: it is written by whoever reaches the admin interface.
const (
	maxOverrides     = 10_000
	maxOverrideBytes = 4096 // of a key and of a value
)

// Layer is one layer as it is in force.
type Layer struct {
	Name   string
	Values map[string]string
}

// Snapshot is what all layers say at one time. Immutable.
type Snapshot struct {
	// Layers are those there are, in order; a disk layer without its directory is not.
	Layers []Layer
	// Values are what holds: later layers over earlier ones.
	Values map[string]string
}

// Loader merges the layers and keeps handles up to date. Its methods may be called from any goroutine. A
// nil Loader has no values.
type Loader struct {
	log      *slog.Logger
	stats    *stats.RuntimeStats
	snapshot atomic.Pointer[Snapshot]

	mu       sync.Mutex
	layers   []layer
	admin    map[string]string // overrides, whether there is an admin layer or not
	hasAdmin bool
	handles  []ref
	prune    int
	watch    *watcher // while there are disk layers
}

// layer is one configured layer.
type layer struct {
	name   string
	admin  bool
	disk   string // the directory; empty unless a disk layer
	values map[string]string
}

// New returns a Loader with an admin layer and no values. It counts in r, under runtime; nil: it does not
// count. log nil discards.
func New(r *stats.Registry, log *slog.Logger) *Loader {
	if r == nil {
		r = stats.NewRegistry()
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Loader{log: log, stats: stats.NewRuntimeStats(r), admin: make(map[string]string), prune: minPrune}
	l.snapshot.Store(noValues)
	return l
}

// Apply replaces the layers. serviceCluster is the node's cluster, which disk layers may append to their
// path. Without layers there is one for the admin interface (OP-30). What was modified there stays.
// A disk layer that cannot be read is counted and logged, and is without values.
func (l *Loader) Apply(layers []conf.RuntimeLayer, serviceCluster string) {
	if len(layers) == 0 {
		layers = []conf.RuntimeLayer{{Name: "admin", Admin: true}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.layers, l.hasAdmin = nil, false
	var links []string
	for i := range layers {
		c := &layers[i]
		next := layer{name: c.Name, admin: c.Admin, values: c.Values}
		if c.Disk != nil {
			next.disk = diskPath(c.Disk, serviceCluster)
			links = append(links, c.Disk.SymlinkRoot)
		}
		l.hasAdmin = l.hasAdmin || c.Admin
		l.layers = append(l.layers, next)
	}
	if l.watch != nil && !slices.Equal(l.watch.links, links) {
		l.watch.stop()
		l.watch = nil
	}
	if l.watch == nil && len(links) > 0 { // before they are read, so that no change is missed
		l.watch = watchLinks(links, l.reload, l.log)
	}
	l.load(true)
}

// reload reads the disk layers again.
func (l *Loader) reload() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.load(true)
}

// load makes the snapshot of the layers, reading files if disk is set, and brings the handles up to date.
// Needs mu.
func (l *Loader) load(disk bool) {
	s := &Snapshot{Values: make(map[string]string)}
	failed, onDisk := false, 0
	for i := range l.layers {
		c := &l.layers[i]
		values := c.values
		switch {
		case c.admin:
			values = maps.Clone(l.admin)
		case c.disk != "":
			if disk {
				read, err := readDisk(c.disk)
				if err != nil {
					// The values before stay: they are better than some of the new ones.
					l.log.Error("runtime: a disk layer cannot be read", "layer", c.name, "error", err)
					failed = true
				} else {
					c.values = read
				}
			}
			if values = c.values; values == nil {
				continue // no such directory
			}
			onDisk++
		}
		s.Layers = append(s.Layers, Layer{Name: c.name, Values: values})
		maps.Copy(s.Values, values)
	}
	l.snapshot.Store(s)
	l.refresh()
	l.count(s, failed, onDisk)
}

// count keeps the statistics of OP-32.
func (l *Loader) count(s *Snapshot, failed bool, onDisk int) {
	if failed {
		l.stats.LoadError.Inc()
	} else {
		l.stats.LoadSuccess.Inc()
	}
	if onDisk > 1 { // the first is the base that others override
		l.stats.OverrideDirExists.Inc()
	} else {
		l.stats.OverrideDirNotExists.Inc()
	}
	l.stats.NumKeys.Set(int64(len(s.Values)))
	l.stats.NumLayers.Set(int64(len(s.Layers)))
	overrides := 0
	if l.hasAdmin {
		overrides = len(l.admin)
	}
	l.stats.AdminOverridesActive.Set(int64(overrides))
}

// ErrNoAdminLayer says that the layers configured have none that Modify could change.
var ErrNoAdminLayer = errors.New("no admin layer specified")

// Modify sets values in the admin layer, all of them or none; an empty one takes the override away.
func (l *Loader) Modify(values map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hasAdmin {
		return ErrNoAdminLayer
	}
	next := maps.Clone(l.admin)
	for key, value := range values {
		if len(key) > maxOverrideBytes || len(value) > maxOverrideBytes {
			return fmt.Errorf("a key or value is longer than %d bytes", maxOverrideBytes)
		}
		if value == "" {
			delete(next, key)
		} else {
			next[key] = value
		}
	}
	if len(next) > maxOverrides {
		return fmt.Errorf("more than %d overrides", maxOverrides)
	}
	l.admin = next
	l.load(false)
	return nil
}

// Snapshot returns what is in force.
func (l *Loader) Snapshot() *Snapshot {
	if l == nil {
		return noValues
	}
	return l.snapshot.Load()
}

// Get returns one value as text.
func (l *Loader) Get(key string) (string, bool) {
	v, ok := l.Snapshot().Values[key]
	return v, ok
}

// Close ends the watching of files. Handles keep their values.
func (l *Loader) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	w := l.watch
	l.watch = nil
	l.mu.Unlock()
	if w != nil {
		w.stop()
		w.done.Wait()
	}
}
