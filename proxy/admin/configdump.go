package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	typePrefix = "type.googleapis.com/"
	adminType  = typePrefix + "envoy.admin.v3."
)

// section is one message of /config_dump and its one repeated field.
type section struct {
	message, field string
	// element is the type of the field's elements when they stand alone (?resource=).
	element string
	list    []map[string]any
}

// configDump prints what runs, and why the last new configuration was refused if it was.
func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		switch name {
		case "resource", "name_regex", "include_eds":
		case "mask":
			badRequest(w, "mask is not supported; use resource and name_regex")
			return
		default:
			badRequest(w, "unknown parameter %q; resource, name_regex and include_eds are known", name)
			return
		}
	}
	match, err := regexp.Compile(q.Get("name_regex"))
	if err != nil {
		badRequest(w, "Error while parsing name_regex from %s: %v", strconv.Quote(q.Get("name_regex")), err)
		return
	}
	c, at := s.o.Server.Config()
	updated := at.UTC().Format(time.RFC3339Nano)
	bootstrap := map[string]any{"@type": adminType + "BootstrapConfigDump", "bootstrap": raw(c.Raw), "last_updated": updated}
	sections := s.sections(c, updated, match.MatchString)
	resource := q.Get("resource")
	if resource == "bootstrap" {
		writeJSON(w, map[string]any{"configs": []any{bootstrap}})
		return
	}
	configs := []any{bootstrap}
	for _, sec := range sections {
		if resource != "" && resource == sec.field {
			writeJSON(w, map[string]any{"configs": sec.alone()})
			return
		}
		if sec.message != "EndpointsConfigDump" || q.Has("include_eds") {
			configs = append(configs, sec.dump())
		}
	}
	if resource != "" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "%s not found in config dump\n", resource)
		return
	}
	out := map[string]any{"configs": configs}
	if when, err := s.o.Server.LastError(); err != nil {
		out["error_state"] = map[string]any{"last_update_attempt": when.UTC().Format(time.RFC3339Nano), "details": err.Error()}
	}
	writeJSON(w, out)
}

// sections collects what follows the bootstrap, in Envoy's order. want chooses by name.
func (s *Server) sections(c *conf.Bootstrap, updated string, want func(name string) bool) []section {
	clusters := section{message: "ClustersConfigDump", field: "static_clusters", element: "StaticCluster"}
	for _, k := range c.Clusters {
		if want(k.Name) {
			clusters.add("cluster", typed(k.Raw, "envoy.config.cluster.v3.Cluster"), updated)
		}
	}
	listeners := section{message: "ListenersConfigDump", field: "static_listeners", element: "StaticListener"}
	routes := section{message: "RoutesConfigDump", field: "static_route_configs", element: "StaticRouteConfig"}
	for _, l := range c.Listeners {
		if want(l.Name) {
			listeners.add("listener", typed(l.Raw, "envoy.config.listener.v3.Listener"), updated)
		}
		for _, chain := range l.Chains() {
			if chain.HTTP == nil {
				continue
			}
			for _, rc := range chain.HTTP.RouteTables() {
				if rc != nil && len(rc.Raw) > 0 && want(rc.Name) {
					routes.add("route_config", typed(rc.Raw, "envoy.config.route.v3.RouteConfiguration"), updated)
				}
			}
		}
	}
	endpoints := section{message: "EndpointsConfigDump", field: "static_endpoint_configs", element: "StaticEndpointConfig"}
	for _, k := range s.o.Server.Clusters() {
		if want(k.Conf.Name) {
			endpoints.add("endpoint_config", loadAssignment(k), "")
		}
	}
	return []section{
		clusters, endpoints, listeners, {message: "ScopedRoutesConfigDump"}, routes, staticSecrets(c.Raw, updated, want),
	}
}

// staticSecrets are those of static_resources: nothing but the bootstrap's text has them as such.
func staticSecrets(bootstrap json.RawMessage, updated string, want func(name string) bool) section {
	out := section{message: "SecretsConfigDump", field: "static_secrets", element: "StaticSecret"}
	var b struct {
		Static struct {
			Secrets []json.RawMessage `json:"secrets"`
		} `json:"static_resources"`
	}
	if len(bootstrap) == 0 || json.Unmarshal(bootstrap, &b) != nil {
		return out
	}
	for _, one := range b.Static.Secrets {
		var secret struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(one, &secret) == nil && want(secret.Name) {
			out.list = append(out.list, map[string]any{
				"name": secret.Name, "last_updated": updated, "secret": typed(one, "envoy.extensions.transport_sockets.tls.v3.Secret"),
			})
		}
	}
	return out
}

func (s *section) add(name string, value any, updated string) {
	m := map[string]any{name: value}
	if updated != "" {
		m["last_updated"] = updated
	}
	s.list = append(s.list, m)
}

func (s *section) dump() map[string]any {
	m := map[string]any{"@type": adminType + s.message}
	if len(s.list) > 0 {
		m[s.field] = s.list
	}
	return m
}

// alone returns the elements, each with its own type.
func (s *section) alone() []map[string]any {
	for _, m := range s.list {
		m["@type"] = adminType + s.message + "." + s.element
	}
	if s.list == nil {
		return []map[string]any{}
	}
	return s.list
}

// loadAssignment is the endpoints a cluster has now, names resolved (endpoint.v3.ClusterLoadAssignment).
func loadAssignment(c *cluster.Cluster) any {
	endpoints := []any{}
	for _, h := range c.Hosts().Hosts {
		endpoints = append(endpoints, map[string]any{
			"locality": localityJSON(h), "priority": h.Priority,
			"lb_endpoints": []any{map[string]any{
				"endpoint":      map[string]any{"address": addressJSON(hostAddress(h)), "hostname": h.Hostname},
				"health_status": healthStatus(h), "load_balancing_weight": h.Weight,
			}},
		})
	}
	return map[string]any{
		"@type": typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": c.Conf.Name, "endpoints": endpoints,
	}
}

// raw is JSON as it is but for its secrets; configurations built in Go have none.
func raw(b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("{}")
	}
	return redact(b)
}

// typed adds the @type a resource carries inside an Any.
func typed(b json.RawMessage, name string) any {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw(b), &m) != nil {
		m = map[string]json.RawMessage{}
	}
	m["@type"] = json.RawMessage(strconv.Quote(typePrefix + name))
	return m
}
