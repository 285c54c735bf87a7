package envoy

const noListenerMatcher = "chains are chosen by filter_chain_match"

var listenerSupport = []messageSupport{
	{
		message: "envoy.config.listener.v3.Listener",
		fields: "name address additional_addresses stat_prefix filter_chains default_filter_chain per_connection_buffer_limit_bytes " +
			"drain_type traffic_direction enable_reuse_port access_log tcp_backlog_size max_connections_to_accept_per_socket_event " +
			"listener_filters listener_filters_timeout continue_on_listener_filters_timeout connection_balance_config internal_listener",
		muted: map[string]string{
			"metadata":                 onlyFilters,
			"ignore_global_conn_limit": noGlobalLimit,
		},
		hints: map[string]string{
			"reuse_port":           "use enable_reuse_port",
			"filter_chain_matcher": noListenerMatcher,
			"use_original_dst":     "use the listener filter envoy.filters.listener.original_dst to match by the original destination",
		},
	},
	{message: "envoy.config.listener.v3.AdditionalAddress", fields: "address"},
	{message: "envoy.config.listener.v3.Listener.InternalListenerConfig"},
	{
		message: "envoy.config.listener.v3.Listener.ConnectionBalanceConfig",
		fields:  "exact_balance",
	},
	{message: "envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance"},
	{
		message: "envoy.config.listener.v3.FilterChain",
		fields:  "filter_chain_match filters transport_socket transport_socket_connect_timeout name",
		muted:   map[string]string{"metadata": onlyFilters},
		hints:   map[string]string{"use_proxy_proto": "use the listener filter envoy.filters.listener.proxy_protocol"},
	},
	{
		message: "envoy.config.listener.v3.FilterChainMatch",
		fields: "destination_port prefix_ranges server_names transport_protocol application_protocols direct_source_prefix_ranges " +
			"source_type source_prefix_ranges source_ports",
		hints: map[string]string{"transport_protocol": "raw_buffer or tls"},
	},
	{
		message:  "envoy.config.listener.v3.ListenerFilter",
		fields:   "name typed_config",
		payloads: map[string]string{"typed_config": listenerFilters},
	},
	{
		message: tlsInspectorMessage,
		fields:  "enable_ja3_fingerprinting enable_ja4_fingerprinting close_connection_on_client_hello_parsing_errors max_client_hello_size",
		muted:   map[string]string{"initial_read_buffer_size": "a first read takes what has arrived"},
	},
	{message: httpInspectorMessage},
	{message: originalDstMessage},
	{
		message: proxyProtocolMessage,
		fields: "rules allow_requests_without_proxy_protocol pass_through_tlvs disallowed_versions stat_prefix " +
			"tlv_location",
	},
	{message: "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule", fields: "tlv_type on_tlv_present"},
	{
		message: "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.KeyValuePair",
		fields:  "metadata_namespace key value_string_encoding",
		values:  map[string]string{"value_string_encoding": "UNSPECIFIED SANITIZED_UTF8"},
	},
	{message: "envoy.config.core.v3.ProxyProtocolPassThroughTLVs", fields: "match_type tlv_type"},
	{
		message:  "envoy.config.core.v3.TransportSocket",
		fields:   "name typed_config",
		payloads: map[string]string{"typed_config": transportSockets},
	},
	{message: onlyRawBuffer},
	{
		message: internalUpstreamMessage,
		fields:  "transport_socket",
		hints:   map[string]string{"passthrough_metadata": "metadata of hosts is not passed to listeners"},
	},
	{
		message: upstreamProxyMessage,
		fields:  "config transport_socket",
		muted:   map[string]string{"tlv_as_pool_key": "no two clients of a TCP proxy share an upstream connection"},
		hints: map[string]string{
			"config":           "clusters that only TCP proxies use",
			"transport_socket": "a raw_buffer",
		},
	},
	{
		message: "envoy.config.core.v3.ProxyProtocolConfig",
		fields:  "version pass_through_tlvs added_tlvs",
	},
	{message: "envoy.config.core.v3.TlvEntry", fields: "type value format_string"},
}
