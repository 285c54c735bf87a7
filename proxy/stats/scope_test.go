package stats

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// expand turns "a_{b,c(g)}" and comma lists of the specification into names with their kinds:
// counter unless marked (g) gauge, (h) histogram.
func expand(prefix, list string) map[string]string {
	out := make(map[string]string)
	for _, word := range strings.Fields(strings.ReplaceAll(list, "\n", " ")) {
		stem, alternatives := "", []string{word}
		if open := strings.IndexByte(word, '{'); open >= 0 {
			stem = word[:open]
			alternatives = strings.Split(strings.TrimSuffix(word[open+1:], "}"), ",")
		}
		for _, a := range alternatives {
			kind := "counter"
			if s, ok := strings.CutSuffix(a, "(g)"); ok {
				a, kind = s, "gauge"
			} else if s, ok := strings.CutSuffix(a, "(h)"); ok {
				a, kind = s, "histogram"
			}
			out[prefix+stem+a] = kind
		}
	}
	return out
}

func kinds(m *Merged) map[string]string {
	out := make(map[string]string)
	for _, c := range m.Counters {
		out[c.Name] = "counter"
	}
	for _, g := range m.Gauges {
		out[g.Name] = "gauge"
	}
	for _, h := range m.Histograms {
		out[h.Name] = "histogram"
	}
	return out
}

// Every name of the specification that plain HTTP/1 can move exists with 0, and no other.
func TestScopesHaveExactlyEnvoysNames(t *testing.T) {
	for _, row := range []struct {
		title, prefix string
		open          func(*Registry)
		want          string
		rooted        string
	}{
		{
			title: "http_codecs.md 5 and router.md 11.1", prefix: "http.ingress.",
			open: func(r *Registry) { NewHTTPStats(r, "ingress") },
			want: `downstream_cx_{total,http1_total,http2_total,ssl_total,destroy,destroy_local,destroy_remote,destroy_active_rq,destroy_local_active_rq,destroy_remote_active_rq,protocol_error,rx_bytes_total,tx_bytes_total,drain_close,idle_timeout,max_duration_reached,max_requests_reached,delayed_close_timeout}
				downstream_flow_control_{paused_reading_total,resumed_reading_total}
				downstream_cx_upgrades_total downstream_cx_upgrades_active(g)
				downstream_rq_{total,http1_total,http2_total,completed,1xx,2xx,3xx,4xx,5xx,rx_reset,tx_reset,response_before_rq_complete,non_relative_path,ws_on_non_ws_route,idle_timeout,header_timeout,timeout,max_duration_reached,failed_path_normalization,redirected_with_normalized_path,too_many_premature_resets,too_large} rs_too_large
				downstream_cx_{rx_bytes_buffered(g),tx_bytes_buffered(g),active(g),http1_active(g),http2_active(g),ssl_active(g),length_ms(h)} downstream_rq_{active(g),time(h)}
				no_{route,cluster} rq_{redirect,direct_response,total,reset_after_downstream_response_started,shadowed,shadow_overflow}
				passthrough_internal_redirect_{bad_location,unsafe_scheme,too_many_redirects,no_route,predicate}`,
			rooted: "http1.{dropped_headers_with_underscores,requests_rejected_with_underscores_in_headers}",
		},
		{
			title: "HC-77", prefix: "http2.",
			open: func(r *Registry) { NewHTTP2Stats(r, "") },
			want: `rx_{messaging_error,reset} tx_{reset,flush_timeout} trailers stream_refused_errors headers_cb_no_stream header_overflow
				dropped_headers_with_underscores requests_rejected_with_underscores_in_headers outbound_{flood,control_flood}
				inbound_{empty_frames_flood,priority_frames_flood,window_update_frames_flood} goaway_sent keepalive_timeout
				streams_active(g) pending_send_bytes(g) deferred_stream_close(g)`,
		},
		{
			title: "http_codecs.md 5, per listener", prefix: "listener.127.0.0.1_80.http.ingress.",
			open: func(r *Registry) { NewListenerHTTPStats(r, "127.0.0.1:80", "ingress") },
			want: "downstream_rq_{completed,1xx,2xx,3xx,4xx,5xx}",
		},
		{
			title: "clusters.md 9 and router.md 11.2", prefix: "cluster.a_b.",
			open: func(r *Registry) { NewClusterStats(r, "a:b") },
			want: `upstream_cx_{total,http1_total,http2_total,connect_fail,connect_timeout,idle_timeout,max_duration_reached,overflow,pool_overflow,destroy,destroy_local,destroy_remote,destroy_with_active_rq,destroy_local_with_active_rq,destroy_remote_with_active_rq,close_notify,rx_bytes_total,tx_bytes_total,protocol_error,max_requests,none_healthy,connect_attempts_exceeded}
				upstream_flow_control_{paused_reading_total,resumed_reading_total,backed_up_total,drained_total}
				membership_change update_{attempt,success,failure,empty,no_rebuild} lb_healthy_panic bind_errors
				upstream_cx_{active(g),rx_bytes_buffered(g),tx_bytes_buffered(g)} membership_{total(g),healthy(g),degraded(g),excluded(g)} max_host_weight(g) warming_state(g)
				upstream_cx_{connect_ms(h),length_ms(h)} upstream_rq_per_cx(h)
				upstream_rq_{total,active(g),pending_total,pending_active(g),pending_overflow,pending_failure_eject,active_overflow,cancelled,timeout,max_duration_reached,tx_reset,rx_reset,maintenance_mode,per_try_timeout,per_try_idle_timeout,rx_reset_no_error,retry,retry_backoff_exponential,retry_backoff_ratelimited,retry_limit_exceeded,retry_success,retry_overflow}
				retry_or_shadow_abandoned upstream_internal_redirect_{succeeded_total,failed_total}`,
		},
		{
			title: "router.md 11.3, before any response", prefix: "cluster.c.",
			open: func(r *Registry) { NewCodeStats(r, "cluster.c.") },
			want: "upstream_rq_{completed,1xx,2xx,3xx,4xx,5xx,unknown,time(h)}",
		},
		{
			title: "operations.md 3, listener", prefix: "listener.[__1]_80.",
			open: func(r *Registry) { NewListenerStats(r, "[::1]:80") },
			want: "downstream_cx_{total,active(g),destroy,length_ms(h),transport_socket_connect_timeout} downstream_pre_cx_{active(g),timeout} downstream_listener_filter_{remote_close,error} no_filter_chain_match",
		},
		{
			title: "tcp_proxy.md 10", prefix: "tcp.in.",
			open: func(r *Registry) { NewTCPStats(r, "in") },
			want: `downstream_cx_{total,no_route,rx_bytes_total,tx_bytes_total,rx_bytes_buffered(g),tx_bytes_buffered(g)}
				downstream_flow_control_{paused_reading_total,resumed_reading_total} early_data_received_count_total
				idle_timeout max_downstream_connection_duration upstream_flush_{total,active(g)}`,
		},
		{
			title: "tcp_proxy.md 10, on demand", prefix: "tcp.in.",
			open: func(r *Registry) { NewOnDemandStats(r, "in") },
			want: "on_demand_cluster_{attempt,missing,success,timeout}",
		},
		{
			title: "tcp_proxy.md 13, tls_inspector", prefix: "tls_inspector.",
			open: func(r *Registry) { NewTLSInspectorStats(r) },
			want: "client_hello_too_large tls_{found,not_found} alpn_{found,not_found} sni_{found,not_found} bytes_processed(h)",
		},
		{
			title: "tcp_proxy.md 13, proxy_protocol", prefix: "proxy_proto.p.",
			open: func(r *Registry) { NewProxyProtocolStats(r, "p") },
			want: "not_found_{disallowed,allowed} versions.v1.{found,disallowed,error} versions.v2.{found,disallowed,error}",
		},
		{
			title: "operations.md 3, worker", prefix: "listener.edge.worker_3.",
			open: func(r *Registry) { NewListenerWorkerStats(r, "edge", 3) },
			want: "downstream_cx_{total,active(g)}",
		},
		{
			title: "operations.md 3, listener manager", prefix: "listener_manager.",
			open: func(r *Registry) { NewListenerManagerStats(r) },
			want: "listener_{added,modified,removed,stopped,create_success,create_failure,in_place_updated} total_listeners_{active(g),warming(g),draining(g)} total_filter_chains_draining(g) workers_started(g)",
		},
		{
			title: "ROUTER-84, timeouts", prefix: "cluster.a_b.upstream_rq_timeout_budget_",
			open: func(r *Registry) { NewTimeoutBudgetStats(r, "a:b") },
			want: "percent_used(h) per_try_percent_used(h)",
		},
		{
			title: "ROUTER-84, sizes", prefix: "cluster.a_b.upstream_",
			open: func(r *Registry) { NewRequestResponseSizeStats(r, "a:b") },
			want: "rq_{headers_size(h),headers_count(h),body_size(h)} rs_{headers_size(h),headers_count(h),body_size(h)}",
		},
		{
			title: "router.md 10, drop_overloads", prefix: "cluster.a_b.",
			open: func(r *Registry) { NewDropOverloadStats(r, "a:b") },
			want: "upstream_rq_drop_overload",
		},
		{
			title: "clusters.md 5, subsets", prefix: "cluster.a_b.",
			open: func(r *Registry) { NewSubsetStats(r, "a:b") },
			want: "lb_subsets_{active(g),created,removed,selected,fallback,fallback_panic,single_host_per_subset_duplicate(g)}",
		},
		{
			title: "CL-13, ring hash", prefix: "cluster.a_b.",
			open: func(r *Registry) { NewRingHashStats(r, "a:b") },
			want: "ring_hash_lb.{size(g),min_hashes_per_host(g),max_hashes_per_host(g)}",
		},
		{
			title: "CL-13, Maglev", prefix: "cluster.a_b.",
			open: func(r *Registry) { NewMaglevStats(r, "a:b") },
			want: "maglev_lb.{min_entries_per_host(g),max_entries_per_host(g)}",
		},
		{
			title: "CL-23", prefix: "cluster.a_b.lb_",
			open: func(r *Registry) { NewZoneStats(r, "a:b") },
			want: "local_cluster_not_ok zone_routing_{all_directly,sampled,cross_zone} zone_no_capacity_left recalculate_zone_structures zone_cluster_too_small",
		},
		{
			title: "CL-42", prefix: "cluster.a_b.health_check.",
			open: func(r *Registry) { NewHealthCheckStats(r, "a:b") },
			want: "attempt success failure passive_failure network_failure verify_cluster healthy(g) degraded(g)",
		},
		{
			title: "CL-46", prefix: "cluster.a_b.outlier_detection.ejections_",
			open: func(r *Registry) { NewOutlierStats(r, "a:b") },
			want: `enforced_total active(g) overflow enforced_{consecutive_5xx,success_rate,consecutive_gateway_failure,consecutive_local_origin_failure,local_origin_success_rate,failure_percentage,failure_percentage_local_origin}
				detected_{consecutive_5xx,success_rate,consecutive_gateway_failure,consecutive_local_origin_failure,local_origin_success_rate,failure_percentage,failure_percentage_local_origin}`,
		},
		{
			title: "clusters.md 2", prefix: "cluster.a_b.",
			open: func(r *Registry) { NewOriginalDstStats(r, "a:b") },
			want: "original_dst_host_invalid",
		},
		{
			title: "dynamic forward proxy", prefix: "dns_cache.a_b.",
			open: func(r *Registry) { NewDNSCacheStats(r, "a:b") },
			want: "dns_query_{attempt,success,failure,timeout} dns_rq_pending_overflow host_{address_changed,added,removed,overflow} num_hosts(g)",
		},
		{
			title: "clusters.md 9, manager", prefix: "cluster_manager.",
			open: func(r *Registry) { NewClusterManagerStats(r) },
			want: "cluster_{added,modified,removed,updated,updated_via_merge} update_{merge_cancelled,out_of_merge_window} active_clusters(g) warming_clusters(g)",
		},
		{
			title: "operations.md 3, server", prefix: "server.",
			open: func(r *Registry) { NewServerStats(r, func() int64 { return 1 }) },
			want: "uptime(g) concurrency(g) memory_{allocated(g),heap_size(g)} live(g) state(g) parent_connections(g) total_connections(g) version(g) days_until_first_cert_expiring(g) hot_restart_epoch(g) initialization_time_ms(h) static_unknown_fields dynamic_unknown_fields debug_assertion_failures",
		},
		{
			title: "OP-32", prefix: "runtime.",
			open: func(r *Registry) { NewRuntimeStats(r) },
			want: "load_{success,error} num_{keys(g),layers(g)} admin_overrides_active(g) deprecated_feature_use override_dir_{exists,not_exists}",
		},
		{
			title: "files", prefix: "filesystem.",
			open: func(r *Registry) { NewFilesystemStats(r) },
			want: "write_{buffered,completed,failed,total_buffered(g)} flushed_by_timer reopen_failed lines_dropped",
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := NewRegistry()
			row.open(r)
			got, want := kinds(r.Collect()), expand(row.prefix, row.want)
			for name, kind := range expand("", row.rooted) {
				want[name] = kind
			}
			delete(got, "")
			for name, kind := range want {
				if got[name] != kind {
					t.Errorf("%s is %q, want %s", name, got[name], kind)
				}
			}
			for name := range got {
				if want[name] == "" && name != "" {
					t.Errorf("%s is in no list", name)
				}
			}
		})
	}
}

// A field's name is the CamelCase of its stat's name, so that code reads like a dashboard.
func TestFieldsAreNamedAfterTheirStats(t *testing.T) {
	for _, scope := range []any{HTTPStats{}, HTTP2Stats{}, ListenerHTTPStats{}, ListenerStats{}, ListenerWorkerStats{}, ListenerManagerStats{}, ClusterStats{}, TimeoutBudgetStats{}, RequestResponseSizeStats{}, DropOverloadStats{}, SubsetStats{}, RingHashStats{}, MaglevStats{}, ClusterManagerStats{}, ServerStats{}, RuntimeStats{}, FilesystemStats{}} {
		typ := reflect.TypeOf(scope)
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("stat"), ",")
			name = strings.ReplaceAll(strings.ReplaceAll(name, "%dxx", "class"), ".", "_")
			camel := regexp.MustCompile("(^|_)[a-z]").ReplaceAllStringFunc(name, func(s string) string { return strings.ToUpper(strings.TrimPrefix(s, "_")) })
			camel = strings.NewReplacer("Http1", "HTTP1", "Http2", "HTTP2", "Goaway", "GoAway", "ViaIp", "ViaIP").Replace(camel)
			if strings.ReplaceAll(camel, "_", "") != field.Name {
				t.Errorf("%s.%s holds %s, want the name %s", typ.Name(), field.Name, name, camel)
			}
		}
	}
}

func TestComputedServerGaugesAnswer(t *testing.T) {
	r := NewRegistry()
	NewServerStats(r, func() int64 { return 42 })
	if got := gaugeValue(t, r, "server.uptime"); got != 42 {
		t.Errorf("uptime %d, want 42", got)
	}
	allocated, heap := gaugeValue(t, r, "server.memory_allocated"), gaugeValue(t, r, "server.memory_heap_size")
	if allocated < 1<<10 || heap < allocated {
		t.Errorf("allocated %d, heap %d", allocated, heap)
	}
}

func TestAnUnknownFieldTypePanicsAtStart(t *testing.T) {
	defer func() {
		if fmt.Sprint(recover()) == "<nil>" {
			t.Fatal("registered a string")
		}
	}()
	register(NewRegistry(), "x.", &struct {
		A string `stat:"a"`
	}{})
}
