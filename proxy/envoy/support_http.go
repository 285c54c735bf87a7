package envoy

// alwaysClosed: what follows an HTTP/1 message that cannot be read cannot be told from it (HC-31).
const alwaysClosed = "an HTTP/1 connection always closes after an invalid message"

var httpSupport = []messageSupport{
	{
		message: hcmMessage,
		fields: "codec_type stat_prefix route_config scoped_routes http_filters add_user_agent common_http_protocol_options http_protocol_options " +
			"server_name server_header_transformation scheme_header_transformation max_request_headers_kb stream_idle_timeout stream_flush_timeout request_timeout " +
			"request_headers_timeout drain_timeout delayed_close_timeout access_log use_remote_address xff_num_trusted_hops " +
			"internal_address_config skip_xff_append via generate_request_id preserve_external_request_id always_set_request_id_in_response " +
			"forward_client_cert_details set_current_client_cert_details proxy_100_continue normalize_path merge_slashes path_with_escaped_slashes_action request_id_extension " +
			"local_reply_config strip_matching_host_port strip_any_host_port strip_trailing_host_dot " +
			"append_x_forwarded_port http2_protocol_options stream_error_on_invalid_http_message upgrade_configs access_log_options",
		values: map[string]string{"codec_type": "AUTO HTTP1 HTTP2"},
		hints: map[string]string{
			"rds":                    "use route_config",
			"tracing":                noTracing,
			"http3_protocol_options": noHTTP3,

			"stream_error_on_invalid_http_message": "HTTP/2 only: " + alwaysClosed,
		},
	},
	{
		message:  "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
		fields:   "name typed_config disabled",
		payloads: map[string]string{"typed_config": httpFilters},
	},
	{message: routerMessage, fields: "dynamic_stats suppress_envoy_headers strict_check_headers respect_expected_rq_timeout suppress_grpc_request_failure_code_stats reject_connect_request_early_data upstream_log upstream_log_options"},
	{message: routerMessage + ".UpstreamAccessLogOptions", fields: "flush_upstream_log_on_upstream_stream upstream_log_flush_interval"},
	{
		message: hcmMessage + ".UpgradeConfig",
		fields:  "upgrade_type enabled filters",
	},
	{
		message: hcmMessage + ".HcmAccessLogOptions",
		fields:  "flush_log_on_tunnel_successfully_established",
	},
	{
		message: "envoy.config.core.v3.HttpProtocolOptions",
		fields: "idle_timeout max_connection_duration max_headers_count max_response_headers_kb max_stream_duration " +
			"headers_with_underscores_action max_requests_per_connection",
		hints: map[string]string{
			"max_response_headers_kb":         "clusters only",
			"headers_with_underscores_action": "connection managers only",
		},
	},
	{
		message: "envoy.config.core.v3.Http1ProtocolOptions",
		fields: "allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers allow_chunked_length " +
			"send_fully_qualified_url allow_custom_methods ignore_http_11_upgrade",
		muted: map[string]string{"use_balsa_parser": "there is one HTTP/1 parser"},
		hints: map[string]string{
			"send_fully_qualified_url":                      "clusters only",
			"ignore_http_11_upgrade":                        "connection managers only",
			"override_stream_error_on_invalid_http_message": alwaysClosed,
		},
	},
	{
		message: "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat",
		fields:  "proper_case_words stateful_formatter",
	},
	{message: "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords"},
	{
		message: preserveCase,
		fields:  "forward_reason_phrase formatter_type_on_envoy_headers",
		values:  map[string]string{"formatter_type_on_envoy_headers": "DEFAULT"},
	},
	{
		message: hcmMessage + ".SetCurrentClientCertDetails",
		fields:  "subject cert chain dns uri format",
		values:  map[string]string{"format": "TEXT"},
	},
	{message: "envoy.config.core.v3.SchemeHeaderTransformation", fields: "scheme_to_overwrite"},
	{
		message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
		fields:  "unix_sockets cidr_ranges",
	},
	{message: "envoy.config.core.v3.CidrRange", fields: "address_prefix prefix_len"},
	{
		message:  "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension",
		fields:   "typed_config",
		payloads: map[string]string{"typed_config": uuidMessage},
	},
	{
		message: uuidMessage,
		fields:  "pack_trace_reason",
		muted:   map[string]string{"use_request_id_for_trace_sampling": noTracing},
	},
	{
		message: "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig",
		fields:  "mappers body_format",
	},
	{
		message: "envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper",
		fields:  "filter status_code body body_format_override headers_to_add",
	},
}

var accessLogSupport = []messageSupport{
	{
		message:  "envoy.config.accesslog.v3.AccessLog",
		fields:   "name filter typed_config",
		payloads: map[string]string{"typed_config": accessLoggers},
	},
	{
		message: "envoy.config.accesslog.v3.AccessLogFilter",
		fields: "status_code_filter duration_filter not_health_check_filter runtime_filter and_filter or_filter " +
			"header_filter response_flag_filter log_type_filter",
	},
	{message: "envoy.config.accesslog.v3.StatusCodeFilter", fields: "comparison"},
	{message: "envoy.config.accesslog.v3.DurationFilter", fields: "comparison"},
	{message: "envoy.config.accesslog.v3.ComparisonFilter", fields: "op value"},
	{message: "envoy.config.core.v3.RuntimeUInt32", fields: "default_value runtime_key"},
	{message: "envoy.config.accesslog.v3.NotHealthCheckFilter"},
	{message: "envoy.config.accesslog.v3.RuntimeFilter", fields: "runtime_key percent_sampled use_independent_randomness"},
	{message: "envoy.type.v3.FractionalPercent", fields: "numerator denominator"},
	{message: "envoy.config.accesslog.v3.AndFilter", fields: "filters"},
	{message: "envoy.config.accesslog.v3.OrFilter", fields: "filters"},
	{message: "envoy.config.accesslog.v3.HeaderFilter", fields: "header"},
	{message: "envoy.config.accesslog.v3.ResponseFlagFilter", fields: "flags"},
	{
		message: "envoy.config.accesslog.v3.LogTypeFilter",
		fields:  "types exclude",
		values: map[string]string{
			"types": "TcpUpstreamConnected TcpPeriodic TcpConnectionStart TcpConnectionEnd DownstreamStart DownstreamPeriodic DownstreamEnd DownstreamTunnelSuccessfullyEstablished UpstreamPoolReady UpstreamPeriodic UpstreamEnd",
		},
	},
	{
		message: "envoy.extensions.access_loggers.file.v3.FileAccessLog",
		fields:  "path format typed_json_format log_format",
		hints:   map[string]string{"json_format": "use log_format.json_format"},
	},
	{message: "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", fields: "log_format"},
	{message: "envoy.extensions.access_loggers.stream.v3.StderrAccessLog", fields: "log_format"},
	{
		message: "envoy.config.core.v3.SubstitutionFormatString",
		fields:  "text_format json_format text_format_source omit_empty_values content_type",
		hints:   map[string]string{"formatters": "the built-in command operators are always there"},
	},
}
