package explain

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// cluster compares two clusters of one name: their fields, and in words their hosts.
func (r *Report) cluster(a, b *conf.Cluster) {
	if len(a.Raw) > 0 && bytes.Equal(a.Raw, b.Raw) {
		return
	}
	r.fields(1, a.Raw, b.Raw, func(path string) bool { return strings.HasPrefix(path, "load_assignment.endpoints") })
	pairs(hosts(a), hosts(b), func(h *host) string { return h.key }, func(x, y *host) {
		switch {
		case x == nil:
			r.add(1, Added, "%s", y.text())
		case y == nil:
			r.add(1, Removed, "%s", x.text())
		default:
			at := len(r.Changes)
			r.structs(2, "", reflect.ValueOf(x.Endpoint).Elem(), reflect.ValueOf(y.Endpoint).Elem())
			if len(r.Changes) > at {
				r.Changes = append(r.Changes[:at:at], append([]Change{{Depth: 1, Mark: Changed, Text: y.text()}}, r.Changes[at:]...)...)
			}
		}
	})
}

// host is an endpoint with what tells it apart: its address and how often the list had that before.
type host struct {
	*conf.Endpoint
	key string
}

func hosts(c *conf.Cluster) []*host {
	out := make([]*host, len(c.Endpoints))
	seen := make(map[string]int)
	for i, e := range c.Endpoints {
		key := e.Address.String()
		seen[key]++
		out[i] = &host{e, fmt.Sprintf("%s %d", key, seen[key])}
	}
	return out
}

func (h *host) text() string {
	s := "host " + h.Address.String()
	if h.Hostname != "" {
		s += " (" + h.Hostname + ")"
	}
	if h.Priority > 0 {
		s += fmt.Sprintf(", priority %d", h.Priority)
	}
	return s
}
