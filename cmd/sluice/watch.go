package main

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file must stay unchanged before it is read: editors and copies write in
// several steps.
const settle = 100 * time.Millisecond

// watchFile reports changes of a file. The directory is watched, not the file: editors and
// Kubernetes replace files by renaming. stop ends it; with an empty path nothing is ever reported.
func watchFile(path string, log *slog.Logger) (changed <-chan struct{}, stop func()) {
	if path == "" {
		return nil, func() {}
	}
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(filepath.Dir(path))
	}
	if err != nil {
		log.Warn("the configuration file is not watched; SIGHUP still re-reads it", "error", err)
		return nil, func() {}
	}
	out := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow(w, path, out)
	}()
	return out, func() {
		w.Close()
		<-done
	}
}

func follow(w *fsnotify.Watcher, path string, out chan<- struct{}) {
	name := filepath.Clean(path)
	target, _ := filepath.EvalSymlinks(path)
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			own := filepath.Clean(ev.Name) == name
			if !own && !ev.Has(fsnotify.Create) && !ev.Has(fsnotify.Rename) || ev.Op == fsnotify.Chmod {
				continue // another file of the folder, such as a log, was written to
			}
			// A ConfigMap changes by swapping a symbolic link beside the file: then the name of the
			// event is another one, but where the path leads has changed.
			now, _ := filepath.EvalSymlinks(path)
			if now == "" || !own && now == target {
				continue
			}
			target = now
			quiet.Reset(settle)
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
		case <-quiet.C:
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}
}
