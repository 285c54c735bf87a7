package envoy

const (
	dynamicForwardCluster = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
	dnsCacheMessage       = "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig"
)

var clusterSupport = []messageSupport{
	{
		message: "envoy.config.cluster.v3.Cluster",
		fields: "name alt_stat_name type connect_timeout per_connection_buffer_limit_bytes lb_policy load_assignment " +
			"max_requests_per_connection circuit_breakers common_http_protocol_options http_protocol_options http2_protocol_options " +
			"upstream_http_protocol_options typed_extension_protocol_options " +
			"dns_refresh_rate dns_jitter dns_failure_refresh_rate respect_dns_ttl dns_lookup_family dns_resolvers use_tcp_for_dns_lookups " +
			"typed_dns_resolver_config wait_for_warm_on_init upstream_bind_config least_request_lb_config round_robin_lb_config " +
			"ring_hash_lb_config maglev_lb_config common_lb_config lb_subset_config transport_socket transport_socket_matches protocol_selection upstream_connection_options " +
			"health_checks outlier_detection load_balancing_policy original_dst_lb_config cleanup_interval " +
			"close_connections_on_host_health_failure ignore_health_on_host_removal track_timeout_budgets track_cluster_stats preconnect_policy cluster_type",
		muted: map[string]string{
			"metadata": onlyFilters,
		},
		values: map[string]string{
			"type":      "STATIC STRICT_DNS LOGICAL_DNS ORIGINAL_DST",
			"lb_policy": "ROUND_ROBIN LEAST_REQUEST RANDOM RING_HASH MAGLEV CLUSTER_PROVIDED LOAD_BALANCING_POLICY_CONFIG",
		},
		payloads: map[string]string{
			"typed_extension_protocol_options": upstreamHTTP,
			"typed_dns_resolver_config":        dnsResolvers,
		},
		hints: map[string]string{
			"eds_cluster_config":    "configuration from a management server is not part of this version",
			"dns_resolution_config": "use typed_dns_resolver_config",
		},
	},
	{
		message: "envoy.config.cluster.v3.TrackClusterStats",
		fields:  "timeout_budgets request_response_sizes",
		hints:   map[string]string{"per_endpoint_stats": "/clusters of the admin interface has the counts of each endpoint"},
	},
	{
		message: "envoy.config.cluster.v3.Cluster.PreconnectPolicy",
		fields:  "per_upstream_preconnect_ratio",
		hints:   map[string]string{"per_upstream_preconnect_ratio": "does nothing for TCP sessions, which have their connections to themselves"},
	},
	{
		message: "envoy.config.cluster.v3.Cluster.CustomClusterType", fields: "name typed_config",
		payloads: map[string]string{"typed_config": dynamicForwardCluster},
	},
	{
		message: dynamicForwardCluster, fields: "dns_cache_config allow_insecure_cluster_options",
		hints: map[string]string{
			"sub_clusters_config":         "a name has one address, use dns_cache_config",
			"allow_coalesced_connections": "each name has connections of its own",
		},
	},
	{
		message: dnsCacheMessage,
		fields: "name dns_lookup_family dns_refresh_rate dns_min_refresh_rate host_ttl max_hosts disable_dns_refresh_on_failure " +
			"dns_failure_refresh_rate dns_cache_circuit_breaker use_tcp_for_dns_lookups typed_dns_resolver_config preresolve_hostnames " +
			"dns_query_timeout resolved_address_filter",
		payloads: map[string]string{"typed_dns_resolver_config": dnsResolvers},
		hints: map[string]string{
			"dns_resolution_config": "use typed_dns_resolver_config", "key_value_config": "names are not kept over restarts",
		},
	},
	{message: "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheCircuitBreakers", fields: "max_pending_requests"},
	{message: "envoy.type.matcher.v3.AddressMatcher", fields: "ranges invert_match"},
	{message: "xds.core.v3.CidrRange", fields: "address_prefix prefix_len"},
	{message: "envoy.config.cluster.v3.Cluster.TransportSocketMatch", fields: "name match transport_socket"},
	{message: "envoy.config.cluster.v3.Cluster.RefreshRate", fields: "base_interval max_interval"},
	{message: "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", fields: "choice_count active_request_bias slow_start_config"},
	{message: "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig", fields: "slow_start_config"},
	{message: "envoy.config.cluster.v3.Cluster.SlowStartConfig", fields: "slow_start_window aggression min_weight_percent"},
	{message: "envoy.config.core.v3.RuntimeDouble", fields: "default_value runtime_key"},
	{
		message: "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig",
		fields:  "use_http_header http_header_name upstream_port_override metadata_key",
	},
	{message: "envoy.type.metadata.v3.MetadataKey", fields: "key path"},
	{message: "envoy.type.metadata.v3.MetadataKey.PathSegment", fields: "key"},
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
		fields: "consistent_hashing_lb_config healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config update_merge_window " +
			"ignore_new_hosts_until_first_hc close_connections_on_host_set_change",
		hints: map[string]string{"zone_aware_lb_config": "needs cluster_manager.local_cluster_name"},
	},
	{
		message: "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
		fields:  "routing_enabled min_cluster_size fail_traffic_on_panic",
	},
	{message: "envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig"},
	{
		message: "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
		fields:  "use_hostname_for_hashing hash_balance_factor",
	},
	{
		message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig",
		fields: "fallback_policy default_subset subset_selectors panic_mode_any list_as_any locality_weight_aware scale_locality_weight " +
			"metadata_fallback_policy",
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
			"max_connection_pools retry_budget",
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
			"auto_config retry_policy",
		hints: map[string]string{
			"use_downstream_protocol_config": "HTTP/1 for all requests without its http2_protocol_options",
			"auto_config":                    "clusters with TLS only",
			"retry_policy":                   "for requests whose route and virtual host have none",
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
		fields:  "cluster_name endpoints policy",
	},
	{
		message: "envoy.config.endpoint.v3.LocalityLbEndpoints",
		fields:  "locality lb_endpoints priority load_balancing_weight metadata",
		hints:   map[string]string{"metadata": "only envoy.transport_socket_match"},
	},
	{
		message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
		fields:  "overprovisioning_factor weighted_priority_health drop_overloads",
		hints:   map[string]string{"drop_overloads": "at most one; HTTP requests only"},
	},
	{
		message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload",
		fields:  "drop_percentage",
		muted:   map[string]string{"category": "it names the drop in load reports, which are not part of this version"},
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
		fields:  "address hostname health_check_config",
	},
	{
		message: "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig",
		fields:  "port_value hostname address disable_active_health_check",
	},
}

var healthSupport = []messageSupport{
	{
		message: "envoy.config.core.v3.HealthCheck",
		fields: "timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold healthy_threshold " +
			"reuse_connection http_health_check tcp_health_check grpc_health_check no_traffic_interval no_traffic_healthy_interval " +
			"unhealthy_interval unhealthy_edge_interval healthy_edge_interval event_log_path always_log_health_check_failures " +
			"always_log_health_check_success tls_options",
	},
	{message: "envoy.config.core.v3.HealthCheck.TlsOptions", fields: "alpn_protocols"},
	{message: "envoy.config.core.v3.HealthCheck.Payload", fields: "text binary"},
	{
		message: "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
		fields: "host path receive response_buffer_size request_headers_to_add request_headers_to_remove expected_statuses " +
			"retriable_statuses codec_client_type service_name_matcher method",
		values: map[string]string{"codec_client_type": "HTTP1 HTTP2"},
	},
	{message: "envoy.config.core.v3.HealthCheck.TcpHealthCheck", fields: "send receive"},
	{message: "envoy.config.core.v3.HealthCheck.GrpcHealthCheck", fields: "service_name authority initial_metadata"},
	{
		message: "envoy.config.cluster.v3.OutlierDetection",
		fields: "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx enforcing_success_rate " +
			"success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure " +
			"enforcing_consecutive_gateway_failure split_external_local_origin_errors consecutive_local_origin_failure " +
			"enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate failure_percentage_threshold " +
			"enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts " +
			"failure_percentage_request_volume max_ejection_time max_ejection_time_jitter " +
			"successful_active_health_check_uneject_host always_eject_one_host",
	},
}

// lbPolicies are the messages of the policies of load_balancing_policy.
const lbPolicies = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin " +
	"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest " +
	"envoy.extensions.load_balancing_policies.random.v3.Random " +
	"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash " +
	"envoy.extensions.load_balancing_policies.maglev.v3.Maglev " +
	"envoy.extensions.load_balancing_policies.subset.v3.Subset " +
	"envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality " +
	"envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided"

var policySupport = []messageSupport{
	{message: "envoy.config.cluster.v3.LoadBalancingPolicy", fields: "policies"},
	{
		message:  "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
		fields:   "typed_extension_config",
		payloads: map[string]string{"typed_extension_config": lbPolicies + " " + otherPayloads},
		hints:    map[string]string{"typed_extension_config": "the first supported one counts"},
	},
	{message: "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin", fields: "slow_start_config locality_lb_config"},
	{
		message: "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
		fields:  "choice_count active_request_bias slow_start_config locality_lb_config enable_full_scan selection_method",
	},
	{message: "envoy.extensions.load_balancing_policies.random.v3.Random", fields: "locality_lb_config"},
	{
		message: "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
		fields: "hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor " +
			"consistent_hashing_lb_config locality_weighted_lb_config",
		values: map[string]string{"hash_function": "DEFAULT_HASH XX_HASH MURMUR_HASH_2"},
	},
	{
		message: "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
		fields:  "table_size consistent_hashing_lb_config locality_weighted_lb_config",
	},
	{
		message: "envoy.extensions.load_balancing_policies.subset.v3.Subset",
		fields: "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any list_as_any " +
			"metadata_fallback_policy subset_lb_policy",
	},
	{
		message: "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector",
		fields:  "keys single_host_per_subset fallback_policy fallback_keys_subset",
	},
	{message: "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality", fields: "endpoint_picking_policy"},
	{message: "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided"},
	{
		message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
		fields:  "zone_aware_lb_config locality_weighted_lb_config",
	},
	{
		message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig",
		fields:  "routing_enabled min_cluster_size fail_traffic_on_panic force_locality_direct_routing force_local_zone",
	},
	{
		message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone",
		fields:  "min_size",
	},
	{message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig"},
	{
		message: "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
		fields:  "slow_start_window aggression min_weight_percent",
	},
	{
		message: "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig",
		fields:  "use_hostname_for_hashing hash_balance_factor",
	},
}
