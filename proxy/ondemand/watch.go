package ondemand

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the directory must be still before what changed is reported:
	// editors and copies write in several steps.
	settle = 100 * time.Millisecond
	// maxSettle bounds that while changes go on.
	maxSettle = 2 * time.Second
	// retryInterval is how often it is looked whether the path leads to another
	// directory than the one that is watched.
	retryInterval = time.Second
)

// Watch reports the names of given clusters whose files may have changed.
func (d *Directory) Watch(changed func(name string)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{d: d, changed: changed, touched: make(map[string]bool)}
	w.open()
	var done sync.WaitGroup
	done.Go(func() { w.run(ctx) })
	return func() {
		cancel()
		done.Wait()
	}
}

// watcher follows the directory for one Watch.
//
//	open --event--> settling --still--> report --> open
//	open --directory removed--> lost --found again--> open, all names reported
type watcher struct {
	d       *Directory
	changed func(name string)
	notify  *fsnotify.Watcher // nil while lost
	seen    os.FileInfo       // the directory that is watched
	touched map[string]bool   // names to report once it is still
	all     bool              // every given file is to be looked at
	since   time.Time         // the first change that is not reported
	said    string            // why it is lost, as logged
}

func (w *watcher) run(ctx context.Context) {
	still, retry := time.NewTimer(time.Hour), time.NewTicker(retryInterval)
	still.Stop()
	defer still.Stop()
	defer retry.Stop()
	defer w.lose()
	for {
		var events chan fsnotify.Event
		var errors chan error
		if w.notify != nil {
			events, errors = w.notify.Events, w.notify.Errors
		}
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.take(e) {
				still.Reset(w.wait())
			}
		case err := <-errors: // events were lost
			w.d.log.Warn("on-demand directory: changes may have been missed", "error", err)
			w.all = true
			still.Reset(w.wait())
		case <-still.C:
			w.report()
		case <-retry.C:
			if w.check() {
				still.Reset(w.wait())
			}
		}
	}
}

// take notes what an event may have changed and says whether that is anything.
func (w *watcher) take(e fsnotify.Event) bool {
	base := filepath.Base(e.Name)
	ending := filepath.Ext(base)
	name := strings.TrimSuffix(base, ending)
	switch {
	case e.Op == fsnotify.Chmod:
		return false
	case filepath.Clean(e.Name) == w.d.path: // the directory itself went
		w.lose()
		w.all = true
	case slices.Contains(endings[:], ending) && fileName(name):
		w.touched[name] = true
	case e.Has(fsnotify.Create) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove):
		w.all = true // a link that the files lead through, perhaps
	default:
		return false
	}
	return true
}

// wait returns how long it must be still from now on.
func (w *watcher) wait() time.Duration {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	return max(0, min(settle, maxSettle-time.Since(w.since)))
}

func (w *watcher) report() {
	names := w.d.restamped(w.all, w.touched)
	clear(w.touched)
	w.all, w.since = false, time.Time{}
	for _, name := range names {
		w.changed(name)
	}
}

// open begins to follow the directory; false when that cannot be, as when it does
// not exist.
func (w *watcher) open() bool {
	seen, err := os.Stat(w.d.path)
	if err != nil {
		return false
	}
	n, err := fsnotify.NewWatcher()
	if err == nil {
		if err = n.Add(w.d.path); err != nil {
			n.Close()
		}
	}
	if err != nil {
		if w.said != err.Error() {
			w.said = err.Error()
			w.d.log.Warn("on-demand directory not watched, trying again", "error", err)
		}
		return false
	}
	w.notify, w.seen, w.said = n, seen, ""
	return true
}

func (w *watcher) lose() {
	if w.notify != nil {
		w.notify.Close()
		w.notify = nil
	}
}

// check sees to it that what is watched is the directory that the path leads to,
// and says whether that is another one than before.
func (w *watcher) check() bool {
	now, err := os.Stat(w.d.path)
	if w.notify != nil && err == nil && os.SameFile(now, w.seen) {
		return false
	}
	had := w.notify != nil
	w.lose()
	if !w.open() && !had {
		return false
	}
	w.all = true
	return true
}
