package admin

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/explain"
)

// explain says where a request would go now, and why: ?url= with method, header=NAME:VALUE (repeated),
// from, sni, alpn, listener, random and format=json.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ask := explain.Question{Method: "GET"}
	for name, values := range q {
		v := values[0]
		switch name {
		case "url":
			ask.URL = v
		case "method":
			ask.Method = v
		case "header":
			for _, h := range values {
				field, value, ok := strings.Cut(h, ":")
				if !ok {
					badRequest(w, "header %q: a colon is missing", h)
					return
				}
				ask.Header = append(ask.Header, [2]string{strings.TrimSpace(field), strings.TrimSpace(value)})
			}
		case "from":
			from, err := netip.ParseAddr(v)
			if err != nil {
				badRequest(w, "from: %v", err)
				return
			}
			ask.From = netip.AddrPortFrom(from, 0)
		case "sni":
			ask.SNI = v
		case "alpn":
			ask.ALPN = values
		case "listener":
			ask.Listener = v
		case "random":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				badRequest(w, "random: %v", err)
				return
			}
			ask.Random = n
		case "format":
		default:
			badRequest(w, "unknown parameter %q; url, method, header, from, sni, alpn, listener, random and format are known", name)
			return
		}
	}
	if ask.URL == "" {
		badRequest(w, "say what to explain: ?url=http://host/path")
		return
	}
	a, err := s.o.Server.Explain(&ask)
	if err != nil {
		badRequest(w, "%v", err)
		return
	}
	if q.Get("format") == "json" {
		writeJSON(w, a)
		return
	}
	_, _ = a.WriteTo(w)
}
