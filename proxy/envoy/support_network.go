package envoy

// Messages of listener and network filters and of transport sockets.
const (
	tlsInspectorMessage  = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
	httpInspectorMessage = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
	proxyProtocolMessage = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
	originalDstMessage   = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
	listenerFilters      = tlsInspectorMessage + " " + httpInspectorMessage + " " + proxyProtocolMessage + " " + originalDstMessage

	tcpProxyMessage        = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	sniClusterMessage      = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"
	setFilterStateMessage  = "envoy.extensions.filters.network.set_filter_state.v3.Config"
	networkRBACMessage     = "envoy.extensions.filters.network.rbac.v3.RBAC"
	connectionLimitMessage = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
	localRateLimitMessage  = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"
	networkFilters         = hcmMessage + " " + tcpProxyMessage + " " + genericProxyMessage + " " + sniClusterMessage + " " + setFilterStateMessage + " " + networkRBACMessage + " " +
		connectionLimitMessage + " " + localRateLimitMessage

	upstreamProxyMessage = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
)

// Reasons shared by the entries below.
const (
	onlyRules    = "use rules"
	noRequest    = "there is no request to judge a connection by"
	noExpression = "expressions are not part of this version"
	noMatchers   = "matchers that are extensions are not part of this version"
	noRBACMeta   = "metadata is not part of this version; use filter_state"
)

var networkSupport = []messageSupport{
	{
		message:  "envoy.config.listener.v3.Filter",
		fields:   "name typed_config",
		payloads: map[string]string{"typed_config": networkFilters},
	},
	{
		message: tcpProxyMessage,
		fields: "stat_prefix cluster weighted_clusters on_demand metadata_match idle_timeout access_log max_connect_attempts backoff_options " +
			"hash_policy max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage access_log_flush_interval " +
			"flush_access_log_on_connected access_log_options proxy_protocol_tlvs proxy_protocol_tlv_merge_policy upstream_connect_mode " +
			"max_early_data_bytes check_drain_close tunneling_config",
		muted: map[string]string{
			"downstream_idle_timeout": "Envoy does not implement it; use idle_timeout",
			"upstream_idle_timeout":   "Envoy does not implement it; use idle_timeout",
		},
		hints: map[string]string{
			"metadata_match": "only envoy.lb",
		},
	},
	{
		message: tcpProxyMessage + ".TunnelingConfig",
		fields:  "hostname use_post headers_to_add propagate_response_headers post_path propagate_response_trailers",
		hints: map[string]string{
			"request_id_extension":    "add %STREAM_ID% to headers_to_add",
			"request_id_header":       "add %STREAM_ID% to headers_to_add",
			"request_id_metadata_key": "add %STREAM_ID% to headers_to_add",
			"formatters":              "the built-in command operators are always there",
		},
	},
	{message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", fields: "clusters"},
	{
		message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
		fields:  "name weight metadata_match",
		hints:   map[string]string{"metadata_match": "only envoy.lb"},
	},
	{
		message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand",
		fields:  "odcds_config timeout",
		hints:   map[string]string{"resources_locator": "use odcds_config"},
	},
	{
		message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions",
		fields:  "access_log_flush_interval flush_access_log_on_connected flush_access_log_on_start",
	},
	{
		message: "envoy.config.core.v3.ConfigSource",
		fields:  "path_config_source resource_api_version",
		values:  map[string]string{"resource_api_version": "AUTO V3"},
		hints: map[string]string{
			"path":              "use path_config_source",
			"ads":               "configuration from a management server is not part of this version; use path_config_source",
			"api_config_source": "configuration from a management server is not part of this version; use path_config_source",
			"self":              "configuration from a management server is not part of this version; use path_config_source",
		},
	},
	{
		message: "envoy.config.core.v3.PathConfigSource",
		fields:  "path",
		hints: map[string]string{
			"path":              "on_demand: the directory that holds a file for each cluster; sds_config: a file of secrets",
			"watched_directory": "the directory of on_demand is watched; a file of secrets is read when the configuration is loaded",
			"poll_interval":     "the directory of on_demand is watched; a file of secrets is read when the configuration is loaded",
		},
	},
	{message: "envoy.config.core.v3.BackoffStrategy", fields: "base_interval max_interval"},
	{message: "envoy.type.v3.HashPolicy", fields: "source_ip filter_state"},
	{message: "envoy.type.v3.HashPolicy.SourceIp"},
	{message: "envoy.type.v3.HashPolicy.FilterState", fields: "key"},
	{message: "envoy.type.v3.Percent", fields: "value"},
	{message: sniClusterMessage},
	{
		message: setFilterStateMessage,
		fields:  "on_new_connection",
		hints: map[string]string{
			"on_downstream_tls_handshake": "values are set when the connection is new",
			"on_downstream_data":          "values are set when the connection is new",
		},
	},
	{
		message: "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue",
		fields:  "object_key factory_key format_string read_only shared_with_upstream skip_if_empty",
		values:  map[string]string{"shared_with_upstream": "NONE"},
	},
	{
		message: networkRBACMessage,
		fields:  "rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type delay_deny",
		hints:   map[string]string{"matcher": onlyRules, "shadow_matcher": "use shadow_rules"},
	},
	{
		message: "envoy.config.rbac.v3.RBAC",
		fields:  "action policies",
		hints:   map[string]string{"audit_logging_options": "audit loggers are not part of this version"},
	},
	{
		message: "envoy.config.rbac.v3.Policy",
		fields:  "permissions principals",
		hints: map[string]string{
			"condition": noExpression, "checked_condition": noExpression, "cel_config": noExpression,
		},
	},
	{
		message: "envoy.config.rbac.v3.Permission",
		fields:  "and_rules or_rules any destination_ip destination_port destination_port_range not_rule requested_server_name header url_path metadata",
		hints: map[string]string{
			"header": "HTTP only", "url_path": "HTTP only", "metadata": "HTTP only",
			"uri_template": "use url_path", "sourced_metadata": "use metadata",
			"matcher": noMatchers,
		},
	},
	{message: "envoy.config.rbac.v3.Permission.Set", fields: "rules"},
	{message: "envoy.type.v3.Int32Range", fields: "start end"},
	{
		message: "envoy.config.rbac.v3.Principal",
		fields:  "and_ids or_ids any source_ip direct_remote_ip remote_ip filter_state not_id header url_path metadata authenticated",
		hints: map[string]string{
			"header": "HTTP only", "url_path": "HTTP only", "metadata": "HTTP only",
			"sourced_metadata": "use metadata",
			"custom":           noMatchers,
		},
	},
	{message: "envoy.config.rbac.v3.Principal.Set", fields: "ids"},
	{
		message: "envoy.type.matcher.v3.FilterStateMatcher",
		fields:  "key string_match",
		hints:   map[string]string{"address_match": "values of filter state are text"},
	},
	{
		message: connectionLimitMessage,
		fields:  "stat_prefix max_connections delay",
		hints:   map[string]string{"runtime_enabled": "the limit always holds; leave the filter out to have none"},
	},
	{
		message: localRateLimitMessage,
		fields:  "stat_prefix token_bucket runtime_enabled share_key",
	},
	{message: "envoy.type.v3.TokenBucket", fields: "max_tokens tokens_per_fill fill_interval"},
	{message: "envoy.config.core.v3.RuntimeFeatureFlag", fields: "default_value runtime_key"},
}
