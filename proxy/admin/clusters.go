package admin

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// addressJSON is a core.v3.Address.
func addressJSON(addr string) map[string]any {
	if internal, ok := strings.CutPrefix(addr, "envoy://"); ok {
		name, id, _ := strings.Cut(internal, "/")
		return map[string]any{"envoy_internal_address": map[string]any{"server_listener_name": name, "endpoint_id": id}}
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return map[string]any{"pipe": map[string]any{"path": addr}}
	}
	n, _ := strconv.Atoi(port)
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": n}}
}

// hostLoads sums what the loops did with each host.
func (s *Server) hostLoads() map[*cluster.Host]cluster.HostLoad {
	type one struct {
		h *cluster.Host
		l cluster.HostLoad
	}
	sum := make(map[*cluster.Host]cluster.HostLoad)
	// Each loop fills a slice of its own: one that answers too late must not touch the sum.
	parts := make(chan []one, 1024)
	s.o.Server.VisitWorkers(func(w *worker.Worker) {
		var part []one
		w.Visit(func(u *worker.Upstream) {
			u.VisitHosts(func(h *cluster.Host, l *cluster.HostLoad) { part = append(part, one{h, *l}) })
		})
		select {
		case parts <- part:
		default:
		}
	})
	for len(parts) > 0 {
		for _, o := range <-parts {
			t := sum[o.h]
			t.Add(&o.l)
			sum[o.h] = t
		}
	}
	return sum
}

func (s *Server) clusters(w http.ResponseWriter, r *http.Request) {
	loads := s.hostLoads()
	if r.URL.Query().Get("format") == "json" {
		s.clustersJSON(w, loads)
		return
	}
	for _, c := range s.o.Server.Clusters() {
		writeCluster(w, c, loads)
	}
}

// writeCluster prints the text form of operations.md section 2.
func writeCluster(w io.Writer, c *cluster.Cluster, loads map[*cluster.Host]cluster.HostLoad) {
	name := c.Conf.Name
	fmt.Fprintf(w, "%s::observability_name::%s\n", name, c.Conf.StatName)
	for i, p := range [2]string{"default_priority", "high_priority"} {
		b := c.Conf.Breakers[i]
		fmt.Fprintf(w, "%s::%s::max_connections::%d\n", name, p, b.MaxConnections)
		fmt.Fprintf(w, "%s::%s::max_pending_requests::%d\n", name, p, b.MaxPendingRequests)
		fmt.Fprintf(w, "%s::%s::max_requests::%d\n", name, p, b.MaxRequests)
		fmt.Fprintf(w, "%s::%s::max_retries::%d\n", name, p, b.MaxRetries)
	}
	for _, kind := range [2]string{"", "local_origin_"} {
		if average, limit, ok := c.OutlierRates(kind != ""); ok {
			fmt.Fprintf(w, "%s::outlier::%ssuccess_rate_average::%s\n", name, kind, rate(average))
			fmt.Fprintf(w, "%s::outlier::%ssuccess_rate_ejection_threshold::%s\n", name, kind, rate(limit))
		}
	}
	fmt.Fprintf(w, "%s::added_via_api::false\n", name)
	for _, h := range c.Hosts().Hosts {
		l := loads[h]
		addr := hostAddress(h)
		for _, n := range hostNumbers(&l) {
			fmt.Fprintf(w, "%s::%s::%s::%d\n", name, addr, n.name, n.value)
		}
		for _, f := range [][2]string{
			{"hostname", h.Hostname},
			{"health_flags", h.Flags().String()},
			{"weight", strconv.Itoa(int(h.Weight))},
			{"region", h.Region},
			{"zone", h.Zone},
			{"sub_zone", h.SubZone},
			{"canary", strconv.FormatBool(h.Canary)},
			{"priority", strconv.Itoa(int(h.Priority))},
			{"success_rate", rate(h.SuccessRate(false))},
			{"local_origin_success_rate", rate(h.SuccessRate(true))},
		} {
			fmt.Fprintf(w, "%s::%s::%s::%s\n", name, addr, f[0], f[1])
		}
	}
}

func hostAddress(h *cluster.Host) string {
	if h.Pipe != "" {
		return h.Pipe
	}
	return h.Address().String()
}

type hostNumber struct {
	name  string
	value uint64
	gauge bool
}

func hostNumbers(l *cluster.HostLoad) []hostNumber {
	return []hostNumber{
		{"cx_active", l.CxActive, true},
		{"cx_connect_fail", l.CxConnectFail, false},
		{"cx_total", l.CxTotal, false},
		{"rq_active", l.RqActive, true},
		{"rq_error", l.RqError, false},
		{"rq_success", l.RqSuccess, false},
		{"rq_timeout", l.RqTimeout, false},
		{"rq_total", l.RqTotal, false},
	}
}

// rate prints a percentage; -1 when it is not known.
func rate(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// healthStatus is an admin.v3.HostHealthStatus.
func healthStatus(h *cluster.Host) map[string]any {
	configured := "HEALTHY"
	switch h.Health {
	case conf.EndpointDegraded:
		configured = "DEGRADED"
	case conf.EndpointUnhealthy:
		configured = "UNHEALTHY"
	case conf.EndpointDraining:
		configured = "DRAINING"
	}
	out, f := map[string]any{"eds_health_status": configured}, h.Flags()
	for flag, name := range map[cluster.HealthFlags]string{
		cluster.FailedActive: "failed_active_health_check", cluster.FailedOutlier: "failed_outlier_check",
		cluster.DegradedActive: "failed_active_degraded_check", cluster.PendingRemoval: "pending_dynamic_removal",
		cluster.PendingActive: "pending_active_hc", cluster.Excluded: "excluded_via_immediate_hc_fail", cluster.ActiveTimeout: "active_hc_timeout",
	} {
		if f&flag != 0 {
			out[name] = true
		}
	}
	return out
}

func localityJSON(h *cluster.Host) map[string]string {
	return map[string]string{"region": h.Region, "zone": h.Zone, "sub_zone": h.SubZone}
}

// clustersJSON writes envoy.admin.v3.Clusters.
func (s *Server) clustersJSON(w http.ResponseWriter, loads map[*cluster.Host]cluster.HostLoad) {
	statuses := []any{}
	for _, c := range s.o.Server.Clusters() {
		hosts := []any{}
		for _, h := range c.Hosts().Hosts {
			l := loads[h]
			var numbers []any
			for _, n := range hostNumbers(&l) {
				kind := "COUNTER"
				if n.gauge {
					kind = "GAUGE"
				}
				numbers = append(numbers, map[string]any{"name": n.name, "value": strconv.FormatUint(n.value, 10), "type": kind})
			}
			hosts = append(hosts, map[string]any{
				"address": addressJSON(hostAddress(h)), "stats": numbers, "health_status": healthStatus(h),
				"weight": h.Weight, "hostname": h.Hostname, "priority": h.Priority,
				"locality": localityJSON(h),
			})
			host := hosts[len(hosts)-1].(map[string]any)
			if v := h.SuccessRate(false); v >= 0 {
				host["success_rate"] = map[string]any{"value": v}
			}
			if v := h.SuccessRate(true); v >= 0 {
				host["local_origin_success_rate"] = map[string]any{"value": v}
			}
		}
		thresholds := []any{}
		for i, p := range [2]string{"DEFAULT", "HIGH"} {
			b := c.Conf.Breakers[i]
			thresholds = append(thresholds, map[string]any{
				"priority": p, "max_connections": b.MaxConnections, "max_pending_requests": b.MaxPendingRequests,
				"max_requests": b.MaxRequests, "max_retries": b.MaxRetries,
			})
		}
		status := map[string]any{
			"name": c.Conf.Name, "observability_name": c.Conf.StatName, "host_statuses": hosts,
			"circuit_breakers": map[string]any{"thresholds": thresholds},
		}
		for _, kind := range [2]string{"", "local_origin_"} {
			if _, limit, ok := c.OutlierRates(kind != ""); ok && limit >= 0 {
				status[kind+"success_rate_ejection_threshold"] = map[string]any{"value": limit}
			}
		}
		statuses = append(statuses, status)
	}
	writeJSON(w, map[string]any{"cluster_statuses": statuses})
}
