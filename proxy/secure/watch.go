package secure

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long files must be still before they are read: a chain and its key are
	// written one after the other.
	settle = 100 * time.Millisecond
	// maxSettle bounds that while changes go on.
	maxSettle = 2 * time.Second
	// lookInterval is how often it is looked whether paths lead to other directories than
	// those that are watched.
	lookInterval = time.Second
	// pollInterval is how often files are read when some cannot be watched.
	pollInterval = 10 * time.Second
)

// watcher follows files by the directories that they are in and those that links lead
// to: files are replaced by renaming, and ConfigMaps by swapping a link beside them.
type watcher struct {
	m    *Manager
	kick chan struct{} // paths changed
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	paths []string

	// The goroutine's.
	notify *fsnotify.Watcher // nil when there cannot be one
	dirs   map[string]os.FileInfo
	bases  map[string]bool // names of files in the directories that matter
	blind  bool            // something cannot be watched
	said   string          // why, as logged
	since  time.Time       // the first change that is not looked at
}

func newWatcher(m *Manager) *watcher {
	w := &watcher{
		m: m, kick: make(chan struct{}, 1), stop: make(chan struct{}),
		dirs: make(map[string]os.FileInfo), bases: make(map[string]bool),
	}
	w.done.Go(w.run)
	return w
}

// follow replaces the paths.
func (w *watcher) follow(paths []string) {
	w.mu.Lock()
	w.paths = slices.Clone(paths)
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *watcher) close() {
	close(w.stop)
	w.done.Wait()
}

func (w *watcher) run() {
	still, look, poll := time.NewTimer(time.Hour), time.NewTicker(lookInterval), time.NewTicker(pollInterval)
	still.Stop()
	defer still.Stop()
	defer look.Stop()
	defer poll.Stop()
	var err error
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		w.complain(err)
	} else {
		defer w.notify.Close()
	}
	for {
		var events chan fsnotify.Event
		var lost chan error
		if w.notify != nil {
			events, lost = w.notify.Events, w.notify.Errors
		}
		select {
		case <-w.stop:
			return
		case e := <-events:
			if _, dir := w.dirs[e.Name]; dir && (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) {
				w.forget(e.Name) // its place may be taken by another one, with the same inode even
			}
			if w.matters(e) {
				still.Reset(w.wait())
			}
		case err := <-lost:
			w.m.log.Warn("TLS: changes of files may have been missed", "error", err)
			still.Reset(w.wait())
		case <-w.kick:
			w.look()
			still.Reset(w.wait()) // for changes between reading and watching
		case <-look.C:
			if w.look() {
				still.Reset(w.wait())
			}
		case <-poll.C:
			if w.blind {
				w.m.reload()
			}
		case <-still.C:
			w.since = time.Time{}
			w.m.reload()
			w.look() // links may lead elsewhere
		}
	}
}

// matters says whether an event may be a change of one of the files.
func (w *watcher) matters(e fsnotify.Event) bool {
	if w.bases[filepath.Base(e.Name)] {
		return true
	}
	return e.Has(fsnotify.Create) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove) // a link that files lead through, perhaps
}

// wait returns how long it must be still from now on.
func (w *watcher) wait() time.Duration {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	return max(0, min(settle, maxSettle-time.Since(w.since)))
}

// look watches the directories that the paths lead to now, and says whether one of them
// is another than before.
func (w *watcher) look() (changed bool) {
	w.mu.Lock()
	paths := w.paths
	w.mu.Unlock()
	want := make(map[string]bool)
	clear(w.bases)
	for _, path := range paths {
		want[filepath.Dir(path)] = true
		w.bases[filepath.Base(path)] = true
		if target, err := filepath.EvalSymlinks(path); err == nil {
			want[filepath.Dir(target)] = true
			w.bases[filepath.Base(target)] = true
		}
	}
	w.blind = w.notify == nil && len(paths) > 0
	for dir := range w.dirs {
		if !want[dir] {
			w.forget(dir)
		}
	}
	if w.notify == nil {
		return false
	}
	for dir := range want {
		changed = w.lookAt(dir) || changed
	}
	return changed
}

// lookAt watches a directory, if it is not the one that is watched already.
func (w *watcher) lookAt(dir string) (changed bool) {
	now, err := os.Stat(dir)
	seen, watched := w.dirs[dir]
	if err == nil && watched && os.SameFile(now, seen) {
		return false
	}
	if watched {
		w.forget(dir)
		changed = true
	}
	if err != nil {
		return changed // it may come
	}
	if err := w.notify.Add(dir); err != nil {
		w.blind = true
		w.complain(err)
		return changed
	}
	w.dirs[dir] = now
	return true
}

func (w *watcher) forget(dir string) {
	delete(w.dirs, dir)
	if w.notify != nil {
		_ = w.notify.Remove(dir) // it may be gone by itself
	}
}

func (w *watcher) complain(err error) {
	if w.said != err.Error() {
		w.said = err.Error()
		w.m.log.Warn("TLS: files cannot be watched, they are read every "+pollInterval.String(), "error", err)
	}
}
