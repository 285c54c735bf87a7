package admin

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + "s" }

func nodeJSON(n conf.Node) map[string]any {
	return map[string]any{
		"id": n.ID, "cluster": n.Cluster, "user_agent_name": "sluice",
		"locality": map[string]string{"region": n.Region, "zone": n.Zone, "sub_zone": n.SubZone},
	}
}

func (s *Server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	c, _ := s.o.Server.Config()
	up := time.Since(s.o.Server.Started())
	writeJSON(w, map[string]any{
		"version": s.o.Version, "state": s.o.Server.State().String(), "hot_restart_version": "disabled",
		"command_line_options": publicOptions(s.o.CommandLine), "node": nodeJSON(c.Node),
		"uptime_current_epoch": seconds(up), "uptime_all_epochs": seconds(up),
	})
}

// memory prints Envoy's fields from the Go runtime, and beside them the counts that show whether the
// hot path allocates.
//
// With ?format=go it prints runtime.MemStats instead, without the per-size table.
func (s *Server) memory(w http.ResponseWriter, r *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if r.URL.Query().Get("format") == "go" {
		writeJSON(w, map[string]uint64{
			"Mallocs": m.Mallocs, "Frees": m.Frees, "TotalAlloc": m.TotalAlloc, "HeapAlloc": m.HeapAlloc,
			"HeapSys": m.HeapSys, "HeapReleased": m.HeapReleased, "Sys": m.Sys, "NumGC": uint64(m.NumGC),
		})
		return
	}
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	writeJSON(w, map[string]string{
		"allocated": u(m.HeapAlloc), "heap_size": u(m.HeapSys), "pageheap_unmapped": u(m.HeapReleased),
		"pageheap_free": u(m.HeapIdle - m.HeapReleased), "total_thread_cache": u(m.MCacheInuse), "total_physical_bytes": u(m.Sys - m.HeapReleased),
		"go_mallocs": u(m.Mallocs), "go_frees": u(m.Frees), "go_gc_cycles": u(uint64(m.NumGC)), "go_heap_objects": u(m.HeapObjects),
	})
}

// initDump names what keeps the server from being live: nothing once it is (admin.v3.UnreadyTargetsDumps).
func (s *Server) initDump(w http.ResponseWriter, _ *http.Request) {
	dumps := []any{}
	if waiting := s.o.Server.Warming(); len(waiting) > 0 {
		targets := make([]string, 0, len(waiting))
		for _, name := range waiting {
			targets = append(targets, "cluster "+name)
		}
		dumps = append(dumps, map[string]any{"name": "init manager Server", "target_names": targets})
	}
	writeJSON(w, map[string]any{"unready_targets_dumps": dumps})
}

// contention prints what --enable-mutex-tracing counted (admin.v3.MutexStats). How long the waits
// under way have lasted is not known.
func (s *Server) contention(w http.ResponseWriter, _ *http.Request) {
	if runtime.SetMutexProfileFraction(-1) == 0 {
		fmt.Fprintln(w, "Mutex contention tracing is not enabled. To enable, run sluice with flag --enable-mutex-tracing.")
		return
	}
	var records []runtime.BlockProfileRecord
	n, fits := runtime.MutexProfile(nil)
	for !fits || n > len(records) {
		records = make([]runtime.BlockProfileRecord, n+64)
		n, fits = runtime.MutexProfile(records)
	}
	var count, cycles int64
	for _, r := range records[:n] {
		count, cycles = count+r.Count, cycles+r.Cycles
	}
	writeJSON(w, map[string]string{
		"num_contentions": strconv.FormatInt(count, 10), "current_wait_cycles": "0", "lifetime_wait_cycles": strconv.FormatInt(cycles, 10),
	})
}

// elsewhere is Envoy's profiler pages: Go's own are better.
func elsewhere(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotImplemented)
	fmt.Fprintln(w, "disabled: profiles are at /debug/pprof/")
}

func recentLookups(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotImplemented)
	fmt.Fprintln(w, "disabled: statistics are indexed when they are made, not looked up by name")
}

func (s *Server) listeners(w http.ResponseWriter, r *http.Request) {
	list := s.o.Server.Listeners()
	if r.URL.Query().Get("format") == "json" {
		out := make([]any, 0, len(list))
		for _, l := range list {
			for _, a := range l.Addresses {
				out = append(out, map[string]any{"name": l.Name, "local_address": addressJSON(a.String())})
			}
		}
		writeJSON(w, map[string]any{"listener_statuses": out})
		return
	}
	for _, l := range list {
		for _, a := range l.Addresses {
			fmt.Fprintf(w, "%s::%s\n", l.Name, a)
		}
	}
}
