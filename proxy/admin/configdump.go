package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

const adminType = "type.googleapis.com/envoy.admin.v3."

// configDump prints what runs, and why the last new configuration was refused if it was.
func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if name != "resource" {
			badRequest(w, "unknown parameter %q; resource is known", name)
			return
		}
	}
	c, at := s.o.Server.Config()
	updated := at.UTC().Format(time.RFC3339Nano)
	clusters := []any{}
	for _, k := range c.Clusters {
		clusters = append(clusters, map[string]any{"cluster": typed(k.Raw, "envoy.config.cluster.v3.Cluster"), "last_updated": updated})
	}
	listeners, routes := []any{}, []any{}
	for _, l := range c.Listeners {
		listeners = append(listeners, map[string]any{"listener": typed(l.Raw, "envoy.config.listener.v3.Listener"), "last_updated": updated})
		if l.FilterChain.HTTP != nil && len(l.FilterChain.HTTP.Routes.Raw) > 0 {
			routes = append(routes, map[string]any{
				"route_config": typed(l.FilterChain.HTTP.Routes.Raw, "envoy.config.route.v3.RouteConfiguration"), "last_updated": updated,
			})
		}
	}
	dump := map[string]map[string]any{
		"bootstrap":        {"@type": adminType + "BootstrapConfigDump", "bootstrap": raw(c.Raw), "last_updated": updated},
		"static_clusters":  {"@type": adminType + "ClustersConfigDump", "static_clusters": clusters},
		"static_listeners": {"@type": adminType + "ListenersConfigDump", "static_listeners": listeners},
		"static_routes":    {"@type": adminType + "RoutesConfigDump", "static_route_configs": routes},
	}
	order := []string{"bootstrap", "static_clusters", "static_listeners", "static_routes"}
	if res := q.Get("resource"); res != "" {
		part, ok := dump[res]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("resource is one of bootstrap, static_clusters, static_listeners, static_routes\n"))
			return
		}
		list, isList := part[res].([]any)
		if res == "static_routes" {
			list, isList = part["static_route_configs"].([]any)
		}
		if !isList {
			list = []any{part}
		}
		writeJSON(w, map[string]any{"configs": list})
		return
	}
	configs := make([]any, 0, len(order))
	for _, name := range order {
		configs = append(configs, dump[name])
	}
	out := map[string]any{"configs": configs}
	if err, when := s.o.Server.LastError(); err != nil {
		out["error_state"] = map[string]any{"last_update_attempt": when.UTC().Format(time.RFC3339Nano), "details": err.Error()}
	}
	writeJSON(w, out)
}

// raw is JSON as it is; configurations built in Go have none.
func raw(b json.RawMessage) any {
	if len(b) == 0 {
		return map[string]any{}
	}
	return b
}

// typed adds the @type a resource carries inside an Any.
func typed(b json.RawMessage, name string) any {
	var m map[string]json.RawMessage
	if len(b) == 0 || json.Unmarshal(b, &m) != nil {
		m = map[string]json.RawMessage{}
	}
	m["@type"] = json.RawMessage(`"type.googleapis.com/` + name + `"`)
	return m
}
