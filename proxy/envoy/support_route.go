package envoy

var routeSupport = []messageSupport{
	{
		message: "envoy.config.route.v3.RouteConfiguration",
		fields: "name virtual_hosts internal_only_headers most_specific_header_mutations_wins validate_clusters " +
			"max_direct_response_body_size_bytes ignore_port_in_host_matching vhost_header ignore_path_parameters_in_path_matching" + headerMutation,
		muted: map[string]string{"metadata": onlyFilters},
	},
	{
		message: "envoy.config.route.v3.VirtualHost",
		fields: "name domains routes require_tls include_request_attempt_count " +
			"include_attempt_count_in_response" + headerMutation,
		muted: map[string]string{"metadata": onlyFilters},
		hints: map[string]string{"retry_policy": "retries are not part of this version"},
	},
	{
		message: "envoy.config.route.v3.Route",
		fields:  "name match route redirect direct_response" + headerMutation,
		muted: map[string]string{
			"metadata":    onlyFilters,
			"decorator":   noTracing,
			"stat_prefix": "there are no statistics by route in this version",
		},
	},
	{
		message: "envoy.config.route.v3.RouteMatch",
		fields:  "prefix path path_separated_prefix case_sensitive headers query_parameters",
		hints: map[string]string{
			"safe_regex":       "use prefix, path or path_separated_prefix",
			"runtime_fraction": "traffic shifting is not part of this version",
		},
	},
	{
		message: "envoy.config.route.v3.RouteAction",
		fields: "cluster cluster_header cluster_not_found_response_code prefix_rewrite host_rewrite_literal auto_host_rewrite " +
			"host_rewrite_header append_x_forwarded_host timeout idle_timeout priority max_stream_duration upgrade_configs",
		hints: map[string]string{
			"weighted_clusters":       "traffic splitting is not part of this version",
			"retry_policy":            "retries are not part of this version",
			"hedge_policy":            "hedging is not part of this version",
			"request_mirror_policies": "mirroring is not part of this version",
			"hash_policy":             "hash policies of routes are not part of this version",
			"metadata_match":          "routes do not choose subsets in this version",
		},
	},
	{message: "envoy.config.route.v3.RouteAction.UpgradeConfig", fields: "upgrade_type enabled connect_config"},
	{message: "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig", fields: "proxy_protocol_config allow_post"},
	{
		message: "envoy.config.route.v3.RouteAction.MaxStreamDuration",
		fields:  "max_stream_duration",
	},
	{
		message: "envoy.config.route.v3.RedirectAction",
		fields: "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite " +
			"response_code strip_query",
	},
	{message: "envoy.config.route.v3.DirectResponseAction", fields: "status body"},
	{
		message: "envoy.config.route.v3.HeaderMatcher",
		fields: "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match " +
			"string_match invert_match treat_missing_header_as_empty",
	},
	{message: "envoy.type.v3.Int64Range", fields: "start end"},
	{
		message: "envoy.config.route.v3.QueryParameterMatcher",
		fields:  "name string_match present_match",
	},
	{
		message: "envoy.type.matcher.v3.StringMatcher",
		fields:  "exact prefix suffix safe_regex contains ignore_case",
	},
	{message: "envoy.type.matcher.v3.RegexMatcher", fields: "google_re2 regex"},
	{message: "envoy.type.matcher.v3.RegexMatcher.GoogleRE2"},
	{
		message: "envoy.config.core.v3.HeaderValueOption",
		fields:  "header append append_action keep_empty_value",
	},
	{message: "envoy.config.core.v3.HeaderValue", fields: "key value"},
}
