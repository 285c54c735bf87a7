package explain

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Mark is the first character of a line of a comparison.
type Mark byte

// Marks.
const (
	Added    Mark = '+'
	Removed  Mark = '-'
	Changed  Mark = '~'
	Moved    Mark = '>' // the same thing at another place of an ordered list
	Shadowed Mark = '!' // a route that can never be chosen, because of one before it
	heading  Mark = ' '
)

// Change is one line of a comparison.
type Change struct {
	// Depth is how many levels the line is below a listener or cluster.
	Depth int
	Mark  Mark
	Text  string
}

// Report is what a change of configuration means, in the order of the new configuration. The zero
// value is one of equal configurations.
type Report struct{ Changes []Change }

// Empty says whether nothing differs.
func (r *Report) Empty() bool { return len(r.Changes) == 0 }

// WriteTo prints the report, a line a change, indented by depth.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	for _, c := range r.Changes {
		b.WriteString(strings.Repeat("  ", c.Depth))
		if c.Mark != heading {
			b.WriteByte(byte(c.Mark))
			b.WriteByte(' ')
		}
		b.WriteString(c.Text)
		b.WriteByte('\n')
	}
	return b.WriteTo(w)
}

func (r *Report) add(depth int, m Mark, format string, args ...any) {
	r.Changes = append(r.Changes, Change{Depth: depth, Mark: m, Text: fmt.Sprintf(format, args...)})
}

// under runs f and puts a heading before what it adds, if it adds anything.
func (r *Report) under(depth int, title string, f func()) {
	at := len(r.Changes)
	f()
	if len(r.Changes) > at {
		r.Changes = slices.Insert(r.Changes, at, Change{Depth: depth, Mark: heading, Text: title})
	}
}

// Compare reports what changes when configuration b takes the place of a. Listeners and clusters are
// told apart by name, virtual hosts too, routes by name or else by what they match, hosts by address.
// Routes and hosts are described in words; every other difference as the path of the field with both
// values.
func Compare(a, b *conf.Bootstrap) *Report {
	r := &Report{}
	pairs(a.Listeners, b.Listeners, listenerKey, func(x, y *conf.Listener) {
		switch {
		case x == nil:
			r.add(0, Added, "listener %s on %s", y.Name, addresses(y))
		case y == nil:
			r.add(0, Removed, "listener %s on %s: it stops accepting, and what it serves is drained", x.Name, addresses(x))
		default:
			r.under(0, "listener "+y.Name, func() { r.listener(x, y) })
		}
	})
	pairs(a.Clusters, b.Clusters, func(c *conf.Cluster) string { return c.Name }, func(x, y *conf.Cluster) {
		switch {
		case x == nil:
			r.add(0, Added, "cluster %s with %s", y.Name, count(len(y.Endpoints), "host"))
		case y == nil:
			r.add(0, Removed, "cluster %s with %s", x.Name, count(len(x.Endpoints), "host"))
		default:
			r.under(0, "cluster "+y.Name, func() { r.cluster(x, y) })
		}
	})
	r.under(0, "bootstrap", func() {
		r.fields(1, a.Raw, b.Raw, func(path string) bool {
			return strings.HasPrefix(path, "static_resources.listeners") || strings.HasPrefix(path, "static_resources.clusters")
		})
	})
	return r
}

// pairs calls f for what both lists have under one key, and for what only one has, in the order of b
// with what b lacks first.
func pairs[T any](a, b []*T, key func(*T) string, f func(x, y *T)) {
	old := make(map[string]*T, len(a))
	for _, x := range a {
		old[key(x)] = x
	}
	kept := make(map[string]bool, len(b))
	for _, y := range b {
		kept[key(y)] = true
	}
	for _, x := range a {
		if !kept[key(x)] {
			f(x, nil)
		}
	}
	for _, y := range b {
		f(old[key(y)], y)
	}
}

func addresses(l *conf.Listener) string {
	list := make([]string, len(l.Addresses))
	for i, a := range l.Addresses {
		list[i] = a.String()
	}
	return strings.Join(list, ", ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// listenerKey is what tells a listener apart: its name, which an unnamed one takes from its address.
func listenerKey(l *conf.Listener) string { return l.Name }
