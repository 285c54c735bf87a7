package admin

import (
	"net/http"
	"regexp"

	"github.com/sluiceproxy/sluice/proxy/stats"
)

// statsOptions reads the query parameters of /stats (operations.md 2).
func statsOptions(w http.ResponseWriter, r *http.Request) (o stats.Options, ok bool) {
	q := r.URL.Query()
	o.UsedOnly = q.Has("usedonly")
	if f := q.Get("filter"); f != "" {
		re, err := regexp.Compile(f)
		if err != nil {
			badRequest(w, "Invalid re2 regex: %v", err)
			return o, false
		}
		o.Filter = re
	}
	if t := q.Get("type"); t != "" {
		if o.Type, ok = stats.ParseType(t); !ok {
			badRequest(w, "invalid &type= param: %q is none of All, Counters, Gauges, Histograms, TextReadouts", t)
			return o, false
		}
	}
	if b := q.Get("histogram_buckets"); b != "" {
		if o.Buckets, ok = stats.ParseBuckets(b); !ok {
			badRequest(w, "usage: /stats?histogram_buckets=(summary|cumulative|disjoint)")
			return o, false
		}
	}
	return o, true
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	switch f := r.URL.Query().Get("format"); f {
	case "", "text":
		if o, ok := statsOptions(w, r); ok {
			_ = s.o.Server.Registry().WriteText(w, o)
		}
	case "json":
		if o, ok := statsOptions(w, r); ok {
			w.Header().Set("Content-Type", "application/json")
			_ = s.o.Server.Registry().WriteJSON(w, o)
		}
	case "prometheus":
		s.prometheus(w, r)
	default:
		badRequest(w, "usage: /stats?format=(text|json|prometheus)")
	}
}

func (s *Server) prometheus(w http.ResponseWriter, r *http.Request) {
	if o, ok := statsOptions(w, r); ok {
		_ = s.o.Server.Registry().WritePrometheus(w, o)
	}
}

func (s *Server) resetCounters(w http.ResponseWriter, _ *http.Request) {
	s.o.Server.Registry().ResetCounters()
	ok(w)
}
