package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const (
	retryHosts        = "type.googleapis.com/envoy.extensions.retry.host."
	previousHosts     = retryHosts + "previous_hosts.v3.PreviousHostsPredicate"
	omitCanary        = retryHosts + "omit_canary_hosts.v3.OmitCanaryHostsPredicate"
	omitMetadata      = retryHosts + "omit_host_metadata.v3.OmitHostMetadataConfig"
	previousPriority  = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
	manyHostSelection = "host_selection_retry_max_attempts: 60"
)

func predicate(kind, fields string) string {
	return `{ name: p, typed_config: { "@type": ` + kind + fields + " } }"
}

// failingHosts are origins of which each answers 503 with its name, and how often each was asked.
func failingHosts(t *testing.T, n int) (origins []harness.Origin, asked func() []int) {
	var all []*harness.Recorder
	for range n {
		o := harness.NewRecorder(t, func(*harness.Message) string { return answered(503) })
		all, origins = append(all, o), append(origins, o)
	}
	return origins, func() (out []int) {
		for _, o := range all {
			out = append(out, len(o.Seen()))
		}
		return out
	}
}

// Router.md 5.5: hosts a retry keeps away from. The first try goes anywhere; a retry that may choose 60 times
// more from four hosts at random meets a wrong one in the end with a chance of (3/4)^60 < 4e-8.
func TestRetryHostPredicates(t *testing.T) {
	for _, row := range []struct {
		title, list string
		labels      []string
		retries     string
		away        []bool // hosts retries keep away from
	}{
		{"canary hosts", predicate(omitCanary, ""), []string{"{ canary: true }", "{ canary: false }", "{}", "{ canary: true }"}, "1", []bool{true, false, false, true}},
		{"hosts with metadata", predicate(omitMetadata, ", metadata_match: { filter_metadata: { envoy.lb: { stage: old, cpu: big } } }"),
			[]string{"{ stage: old, cpu: big }", "{ stage: old }", "{ stage: new, cpu: big }", "{ stage: old, cpu: big, x: y }"}, "1", []bool{true, false, false, true}},
		{"either", predicate(omitCanary, "") + ", " + predicate(omitMetadata, ", metadata_match: { filter_metadata: { envoy.lb: { stage: old } } }"),
			[]string{"{ canary: true }", "{ stage: old }", "{}", "{ canary: true, stage: old }"}, "1", []bool{true, true, false, true}},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			origins, asked := failingHosts(t, 4)
			top := retrying(quick("retry_on: 5xx, num_retries: "+row.retries+", "+manyHostSelection+", retry_host_predicate: ["+row.list+"]"), origins...)
			top.Clusters[0].Labels, top.Clusters[0].Fields = row.labels, "lb_policy: RANDOM"
			top.VirtualHost = "include_request_attempt_count: true"
			p := harness.Start(t, top)
			const n = 60
			for range n {
				ask(t, p, "h", "/a")
			}
			total := 0
			for i, o := range origins {
				retried := 0
				for _, m := range o.(*harness.Recorder).Seen() {
					if m.Get("x-envoy-attempt-count") != "1" {
						retried++
					}
				}
				if total += retried; row.away[i] && retried > 0 || !row.away[i] && retried == 0 {
					t.Errorf("host %d was retried at %d times", i, retried)
				}
			}
			if got := asked(); total != n || got[0] == 0 { // three quarters to the power of 60
				t.Errorf("%d retries, asked %v", total, got)
			}
		})
	}
}

// When every host is refused, the last one chosen has to do: there is one retry more, and none is lost.
func TestRetryHostPredicatesThatRefuseAll(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503), answered(200))
	p := harness.Start(t, retrying(quick("retry_on: 5xx, retry_host_predicate: ["+predicate(previousHosts, "")+"]"), o))
	if m := ask(t, p, "h", "/a"); m.Status() != 200 {
		t.Errorf("got %s", m.Head())
	}
}

// previous_priorities: after every update_frequency tries the priorities they were at are left; when all are
// used up it begins again.
func TestRetryPriorityPreviousPriorities(t *testing.T) {
	for _, row := range []struct {
		frequency int
		want      string // priorities of the tries
	}{{1, "0 1 2 0 1 2 0"}, {2, "0 0 1 1 2 2 0"}} {
		t.Run(fmt.Sprint(row.frequency), func(t *testing.T) {
			harness.NoLeaks(t)
			var mu sync.Mutex
			var order []string
			var origins []harness.Origin
			for i := range 3 {
				origins = append(origins, harness.NewRecorder(t, func(*harness.Message) string {
					mu.Lock()
					order = append(order, fmt.Sprint(i))
					mu.Unlock()
					return answered(503)
				}))
			}
			top := retrying(quick("retry_on: 5xx, num_retries: 6, retry_priority: "+predicate(previousPriority, fmt.Sprintf(", update_frequency: %d", row.frequency))), origins...)
			k := harness.Load(t, top.YAML(t.TempDir()+"/log"))
			for i := range k.Clusters[0].Endpoints {
				k.Clusters[0].Endpoints[i].Priority = uint32(i)
			}
			k.Clusters[0].Raw = nil
			p := harness.StartConf(t, k, 1, "", origins...)
			if m := ask(t, p, "h", "/a"); m.Status() != 503 {
				t.Errorf("got %s", m.Head())
			}
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(order, " "); got != row.want {
				t.Errorf("the tries were at priorities %s, want %s", got, row.want)
			}
		})
	}
}

// ROUTER-26: a retry for which there is no host any more is answered so.
func TestROUTER26NoHostIsLeft(t *testing.T) {
	harness.NoLeaks(t)
	var asked atomic.Int64
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		switch {
		case m.Path() == "/a":
			asked.Add(1)
			return answered(503, "x-envoy-immediate-health-check-fail: true", "Retry-After: 1")
		case asked.Load() > 0:
			return answered(503)
		}
		return answered(200)
	})
	top := checked(checks("http_health_check: { path: /health }"), o)
	// The retry waits for a second, in which the control plane takes the host out.
	top.Action = "retry_policy: { retry_on: 5xx, num_retries: 3, rate_limited_retry_back_off: { reset_headers: [{ name: retry-after, format: SECONDS }] } }"
	p := harness.Start(t, top)
	awaitFlags(t, p, "healthy")
	if m := ask(t, p, "h", "/a"); m.Status() != 503 || string(m.Body) != "no healthy upstream" {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d tries", n)
	}
	p.WantLine("503 UH no_healthy_upstream")
	wantCounts(p, map[string]int64{"upstream_rq_retry": 1, "upstream_cx_none_healthy": 1, "upstream_rq_503": 1})
}

// RT-83: with auto_host_rewrite each try has the name of its own host, or the client's where that has none;
// what the client asked for is told once a host was rewritten.
func TestRT83EachTryHasTheNameOfItsHost(t *testing.T) {
	for _, row := range []struct {
		first, second string
		want          [2][3]string // host, x-envoy-original-host, x-forwarded-host
	}{
		{"a.test", "b.test", [2][3]string{{"a.test", "h", "h"}, {"b.test", "h", "h"}}},
		{"a.test", "", [2][3]string{{"a.test", "h", "h"}, {"h", "h", "h"}}},
		{"", "b.test", [2][3]string{{"h", "-", "-"}, {"b.test", "h", "h"}}},
		{"a.test", "a.test", [2][3]string{{"a.test", "h", "h"}, {"a.test", "h", "h"}}},
	} {
		t.Run(row.first+" "+row.second, func(t *testing.T) {
			harness.NoLeaks(t)
			first, second := harness.NewRecorder(t, func(*harness.Message) string { return answered(503) }), harness.NewRecorder(t, nil)
			top := retrying("auto_host_rewrite: true\nappend_x_forwarded_host: true\n"+quick("retry_on: 5xx, retry_priority: "+predicate(previousPriority, ", update_frequency: 1")), first, second)
			k := harness.Load(t, top.YAML(t.TempDir()+"/log"))
			for i, name := range []string{row.first, row.second} {
				e := k.Clusters[0].Endpoints[i]
				e.Priority, e.Hostname = uint32(i), name
			}
			k.Clusters[0].Raw = nil
			p := harness.StartConf(t, k, 1, "", first, second)
			if m := ask(t, p, "h", "/a"); m.Status() != 200 {
				t.Errorf("got %s", m.Head())
			}
			for i, o := range []*harness.Recorder{first, second} {
				m := o.Last(t)
				if got := [3]string{m.Get("host"), m.Get("x-envoy-original-host"), m.Get("x-forwarded-host")}; got != row.want[i] {
					t.Errorf("try %d: %q, want %q", i+1, got, row.want[i])
				}
			}
		})
	}
}
