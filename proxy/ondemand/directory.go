// Package ondemand has providers of clusters that are looked up when a connection
// wants them (cluster.Provider): a directory that holds a file for each. It knows
// nothing of what is in the files; whoever makes a Directory says how to read one.
package ondemand

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	// maxFileBytes bounds a file.
	maxFileBytes = 4 << 20
	// maxNameBytes bounds a name, with room for the ending in a file's name.
	maxNameBytes = 200
	// maxBroken is how many files' errors are remembered.
	maxBroken = 1024
)

// endings of files in the order they are tried.
var endings = [...]string{".yaml", ".yml", ".json"}

// Directory is a folder with a file for each cluster: name.yaml, name.yml or
// name.json. Files may be replaced by renaming, also as ConfigMaps are, by swapping
// a link beside them. Its methods may be called from any goroutine but a loop.
type Directory struct {
	path  string
	parse func(path string) (*conf.Cluster, error)
	log   *slog.Logger

	mu     sync.Mutex
	given  map[string]string // stamps of the files of clusters that were found and may serve
	broken map[string]string // what was logged last, by name; "" is the directory
}

var _ cluster.Provider = (*Directory)(nil)

// NewDirectory returns the provider of the files in path, which need not exist
// yet. parse reads one; its errors go to the log, once for each. log may be nil.
func NewDirectory(path string, parse func(path string) (*conf.Cluster, error), log *slog.Logger) *Directory {
	if log == nil {
		log = slog.Default()
	}
	return &Directory{
		path: filepath.Clean(path), parse: parse, log: log.With("directory", path),
		given: make(map[string]string), broken: make(map[string]string),
	}
}

// Lookup reads a cluster's file; nil when there is none, or the name cannot be one
// in the directory. An error says what is wrong with the file.
func (d *Directory) Lookup(ctx context.Context, name string) (*conf.Cluster, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !fileName(name) {
		return nil, nil
	}
	path, stamp, err := d.find(name)
	if err != nil || path == "" {
		d.note(name, stamp, err)
		return nil, err
	}
	c, err := d.read(path, name)
	d.note(name, stamp, err)
	return c, err
}

// fileName says whether a cluster's name can be a file's. Names come from clients
// (SNI), so none may lead out of the directory, or to its hidden files. Dots
// elsewhere are part of host names.
func fileName(name string) bool {
	return name != "" && len(name) <= maxNameBytes && name[0] != '.' && !strings.ContainsAny(name, "/\\\x00")
}

// errUnreadable is an error that is not one file's.
var errUnreadable = errors.New("cannot be read")

// find returns a cluster's file and a stamp, which is another one when the file is,
// or leads elsewhere; all empty when there is none.
func (d *Directory) find(name string) (path, stamp string, err error) {
	for _, ending := range endings {
		path := filepath.Join(d.path, name+ending)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return "", "", fmt.Errorf("%s: %w: %w", d.path, errUnreadable, errors.Unwrap(err))
		}
		target, _ := filepath.EvalSymlinks(path)
		return path, fmt.Sprint(target, info.Size(), info.ModTime().UnixNano()), nil
	}
	return "", "", nil
}

func (d *Directory) read(path, name string) (*conf.Cluster, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("%s: %d bytes, more than %d", path, info.Size(), maxFileBytes)
	}
	c, err := d.parse(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case c == nil:
		return nil, fmt.Errorf("%s: holds no cluster", path)
	case c.Name != name:
		return nil, fmt.Errorf("%s: holds the cluster %q", path, c.Name)
	}
	return c, nil
}

// note remembers what was given, an empty stamp for nothing, and logs an error that
// is new: a client that connects again and again must not fill the log.
func (d *Directory) note(name, stamp string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.given[name]; ok || err == nil && stamp != "" {
		d.given[name] = stamp // of a broken file too: it is read again when it changes
	}
	if err == nil {
		delete(d.broken, name)
		delete(d.broken, "")
		if stamp == "" {
			delete(d.given, name)
		}
		return
	}
	key := name
	if errors.Is(err, errUnreadable) {
		key = ""
	}
	if d.broken[key] == err.Error() {
		return
	}
	if len(d.broken) >= maxBroken {
		clear(d.broken)
	}
	d.broken[key] = err.Error()
	d.log.Warn("on-demand cluster file not usable", "cluster", name, "error", err)
}

// restamped returns the names of given clusters whose files are others now, and
// those of all that are touched.
func (d *Directory) restamped(all bool, touched map[string]bool) (names []string) {
	d.mu.Lock()
	given := maps.Clone(d.given)
	d.mu.Unlock()
	for name, stamp := range given {
		if !touched[name] && all {
			_, now, _ := d.find(name)
			touched[name] = now != stamp
		}
		if touched[name] {
			names = append(names, name)
		}
	}
	return names
}
