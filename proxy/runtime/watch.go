package runtime

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// lookInterval is how often it is looked where the links lead, besides what the system reports.
const lookInterval = time.Second

// watcher sees when one of the links leads to another directory: values change by a swap of the link
// (OP-32), so that they change all at once.
type watcher struct {
	links  []string
	now    []place
	reload func()
	quit   chan struct{}
	done   sync.WaitGroup
}

// place is where a link leads.
type place struct {
	text string // empty when it is no link
	info os.FileInfo
}

func lookUp(link string) place {
	var p place
	p.text, _ = os.Readlink(link)
	p.info, _ = os.Stat(link)
	return p
}

func (p place) same(q place) bool {
	if p.text != q.text || (p.info == nil) != (q.info == nil) {
		return false
	}
	return p.info == nil || os.SameFile(p.info, q.info)
}

// watchLinks calls reload, on a goroutine of its own, after each change until stop.
func watchLinks(links []string, reload func(), log *slog.Logger) *watcher {
	w := &watcher{links: links, reload: reload, quit: make(chan struct{})}
	for _, link := range links {
		w.now = append(w.now, lookUp(link))
	}
	notify, err := fsnotify.NewWatcher()
	for _, link := range links {
		if err == nil {
			err = notify.Add(filepath.Dir(filepath.Clean(link)))
		}
	}
	if err != nil {
		log.Warn("runtime: a directory cannot be watched, it is looked at every "+lookInterval.String(), "error", err)
	}
	w.done.Go(func() { w.run(notify) })
	return w
}

func (w *watcher) run(notify *fsnotify.Watcher) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	var events chan fsnotify.Event
	var lost chan error
	if notify != nil {
		defer notify.Close()
		events, lost = notify.Events, notify.Errors
	}
	for {
		select {
		case <-w.quit:
			return
		case <-events:
		case <-lost:
		case <-tick.C:
		}
		if w.moved() {
			w.reload()
		}
	}
}

// moved says whether a link leads elsewhere than at the last call.
func (w *watcher) moved() (yes bool) {
	for i, link := range w.links {
		if p := lookUp(link); !p.same(w.now[i]) {
			w.now[i], yes = p, true
		}
	}
	return yes
}

// stop ends it. reload may be under way, and ends soon.
func (w *watcher) stop() { close(w.quit) }
