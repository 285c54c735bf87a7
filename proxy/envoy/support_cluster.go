package envoy

var clusterSupport = []messageSupport{
	{
		message: "envoy.config.cluster.v3.Cluster",
		fields: "name alt_stat_name type connect_timeout per_connection_buffer_limit_bytes lb_policy load_assignment " +
			"max_requests_per_connection circuit_breakers common_http_protocol_options http_protocol_options http2_protocol_options " +
			"upstream_http_protocol_options typed_extension_protocol_options " +
			"dns_refresh_rate dns_jitter dns_failure_refresh_rate respect_dns_ttl dns_lookup_family dns_resolvers use_tcp_for_dns_lookups " +
			"typed_dns_resolver_config wait_for_warm_on_init upstream_bind_config least_request_lb_config round_robin_lb_config " +
			"ring_hash_lb_config maglev_lb_config common_lb_config lb_subset_config transport_socket transport_socket_matches protocol_selection upstream_connection_options",
		muted: map[string]string{
			"metadata":         onlyFilters,
			"cleanup_interval": "only ORIGINAL_DST clusters use it",
		},
		values: map[string]string{
			"type":      "STATIC STRICT_DNS LOGICAL_DNS",
			"lb_policy": "ROUND_ROBIN LEAST_REQUEST RANDOM RING_HASH MAGLEV",
		},
		payloads: map[string]string{
			"typed_extension_protocol_options": upstreamHTTP,
			"typed_dns_resolver_config":        dnsResolvers,
		},
		hints: map[string]string{
			"health_checks":         "active health checking is not part of this version",
			"outlier_detection":     "outlier detection is not part of this version",
			"eds_cluster_config":    "configuration from a management server is not part of this version",
			"dns_resolution_config": "use typed_dns_resolver_config",
			"load_balancing_policy": "use lb_policy",
		},
	},
	{message: "envoy.config.cluster.v3.Cluster.TransportSocketMatch", fields: "name match transport_socket"},
	{message: "envoy.config.cluster.v3.Cluster.RefreshRate", fields: "base_interval max_interval"},
	{message: "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", fields: "choice_count"},
	{message: "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig"},
	{
		message: "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
		fields:  "minimum_ring_size hash_function maximum_ring_size",
	},
	{
		message: "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
		fields:  "table_size",
		hints:   map[string]string{"table_size": "a prime"},
	},
	{
		message: "envoy.config.cluster.v3.Cluster.CommonLbConfig",
		fields:  "consistent_hashing_lb_config",
		hints: map[string]string{
			"ignore_new_hosts_until_first_hc": "active health checking is not part of this version",
			"locality_weighted_lb_config":     "locality weighted balancing is not part of this version",
			"zone_aware_lb_config":            "zone aware balancing is not part of this version",
		},
	},
	{
		message: "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
		fields:  "use_hostname_for_hashing hash_balance_factor",
	},
	{
		message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig",
		fields:  "fallback_policy default_subset subset_selectors panic_mode_any list_as_any",
		hints: map[string]string{
			"locality_weight_aware": "locality weighted balancing is not part of this version",
			"scale_locality_weight": "locality weighted balancing is not part of this version",
		},
	},
	{
		message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
		fields:  "keys single_host_per_subset fallback_policy fallback_keys_subset",
	},
	{
		message: "envoy.config.cluster.v3.CircuitBreakers",
		fields:  "thresholds per_host_thresholds",
		hints:   map[string]string{"per_host_thresholds": "max_connections of the DEFAULT priority"},
	},
	{
		message: "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
		fields: "priority max_connections max_pending_requests max_requests max_retries track_remaining " +
			"max_connection_pools",
		hints: map[string]string{"retry_budget": "retries are not part of this version"},
	},
	{message: "envoy.config.core.v3.BindConfig", fields: "source_address"},
	{message: "envoy.config.cluster.v3.UpstreamConnectionOptions", fields: "tcp_keepalive"},
	{
		message: "envoy.config.core.v3.TcpKeepalive",
		fields:  "keepalive_probes keepalive_time keepalive_interval",
	},
	{
		message: upstreamHTTP,
		fields: "common_http_protocol_options upstream_http_protocol_options explicit_http_config use_downstream_protocol_config " +
			"auto_config",
		hints: map[string]string{
			"use_downstream_protocol_config": "HTTP/1 for all requests without its http2_protocol_options",
			"auto_config":                    "clusters with TLS only",
			"retry_policy":                   "retries are not part of this version",
		},
	},
	{
		message: "envoy.config.core.v3.UpstreamHttpProtocolOptions",
		fields:  "auto_sni auto_san_validation override_auto_sni_header",
	},
	{
		message: upstreamHTTP + ".ExplicitHttpConfig",
		fields:  "http_protocol_options http2_protocol_options",
		hints:   map[string]string{"http3_protocol_options": noHTTP3},
	},
	{
		message: upstreamHTTP + ".UseDownstreamHttpConfig",
		fields:  "http_protocol_options http2_protocol_options",
		hints:   map[string]string{"http3_protocol_options": noHTTP3},
	},
	{
		message: upstreamHTTP + ".AutoHttpConfig",
		fields:  "http_protocol_options http2_protocol_options",
		hints:   map[string]string{"http3_protocol_options": noHTTP3, "alternate_protocols_cache_options": noHTTP3},
	},
}

var endpointSupport = []messageSupport{
	{
		message: "envoy.config.endpoint.v3.ClusterLoadAssignment",
		fields:  "cluster_name endpoints",
	},
	{
		message: "envoy.config.endpoint.v3.LocalityLbEndpoints",
		fields:  "locality lb_endpoints priority",
		muted: map[string]string{
			"metadata":              onlyFilters,
			"load_balancing_weight": "only locality weighted balancing uses it",
		},
	},
	{
		message: "envoy.config.endpoint.v3.LbEndpoint",
		fields:  "endpoint health_status metadata load_balancing_weight",
		hints:   map[string]string{"metadata": "only envoy.lb and envoy.transport_socket_match"},
	},
	{
		message: "envoy.config.core.v3.Metadata",
		fields:  "filter_metadata",
	},
	{
		message: "envoy.config.endpoint.v3.Endpoint",
		fields:  "address hostname",
		muted:   map[string]string{"health_check_config": "active health checking is not part of this version"},
	},
}
