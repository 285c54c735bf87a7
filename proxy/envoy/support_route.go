package envoy

var routeSupport = []messageSupport{
	{
		message: "envoy.config.route.v3.RouteConfiguration",
		fields: "name virtual_hosts internal_only_headers most_specific_header_mutations_wins validate_clusters " +
			"max_direct_response_body_size_bytes request_mirror_policies ignore_port_in_host_matching vhost_header ignore_path_parameters_in_path_matching" + headerMutation,
		muted: map[string]string{"metadata": onlyFilters},
		hints: map[string]string{
			"vhds":                      noServer,
			"cluster_specifier_plugins": noPlugins,
			"route_specifiers":          noPlugins,
		},
	},
	{
		message: "envoy.config.route.v3.VirtualHost",
		fields: "name domains routes matcher virtual_clusters require_tls include_request_attempt_count " +
			"include_attempt_count_in_response retry_policy hedge_policy include_is_timeout_retry_header per_request_buffer_limit_bytes " +
			"request_body_buffer_limit request_mirror_policies" + headerMutation,
		muted: map[string]string{"metadata": onlyFilters},
	},
	{
		message: "envoy.config.route.v3.Route",
		fields:  "name match route redirect direct_response stat_prefix per_request_buffer_limit_bytes request_body_buffer_limit" + headerMutation,
		muted: map[string]string{
			"metadata":  onlyFilters,
			"decorator": noTracing,
		},
		hints: map[string]string{
			"filter_action":         "only route, redirect and direct_response",
			"non_forwarding_action": "it is for clients that route by themselves; use route, redirect or direct_response",
			"route_specifiers":      noPlugins,
		},
	},
	{
		message: "envoy.config.route.v3.RouteMatch",
		fields: "prefix path path_separated_prefix safe_regex connect_matcher path_match_policy case_sensitive runtime_fraction headers " +
			"query_parameters cookies grpc tls_context dynamic_metadata filter_state",
		hints: map[string]string{"path_match_policy": "URI templates"},
	},
	{message: "envoy.config.route.v3.RouteMatch.ConnectMatcher"},
	{message: "envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions"},
	{message: "envoy.config.route.v3.RouteMatch.TlsContextMatchOptions", fields: "presented validated"},
	{message: "envoy.config.route.v3.CookieMatcher", fields: "name string_match invert_match"},
	{message: uriTemplateMatch, fields: "path_template"},
	{message: uriTemplateRewrite, fields: "path_template_rewrite"},
	{message: "envoy.config.core.v3.RuntimeFractionalPercent", fields: "default_value runtime_key"},
	{
		message: "envoy.type.matcher.v3.MetadataMatcher",
		fields:  "filter path value invert",
	},
	{message: "envoy.type.matcher.v3.MetadataMatcher.PathSegment", fields: "key"},
	{
		message: "envoy.type.matcher.v3.ValueMatcher",
		fields:  "string_match present_match or_match",
		hints: map[string]string{
			"null_match": onlyText, "double_match": onlyText, "bool_match": onlyText, "list_match": onlyText,
		},
	},
	{message: "envoy.type.matcher.v3.OrMatcher", fields: "value_matchers"},
	{message: "envoy.config.route.v3.VirtualCluster", fields: "headers name"},
	{message: "envoy.config.route.v3.RouteList", fields: "routes"},
	{
		message: "envoy.config.route.v3.RouteAction",
		fields: "cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match hash_policy " +
			"prefix_rewrite regex_rewrite path_rewrite_policy path_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header " +
			"host_rewrite_path_regex host_rewrite append_x_forwarded_host timeout idle_timeout flush_timeout max_grpc_timeout " +
			"grpc_timeout_offset priority max_stream_duration upgrade_configs retry_policy hedge_policy request_mirror_policies " +
			"internal_redirect_policy internal_redirect_action max_internal_redirects",
		hints: map[string]string{
			"metadata_match":                  "only envoy.lb",
			"path_rewrite_policy":             "URI templates",
			"flush_timeout":                   "HTTP/2; an HTTP/1 connection has its own timeouts",
			"cluster_specifier_plugin":        noPlugins,
			"inline_cluster_specifier_plugin": noPlugins,
		},
	},
	{message: "envoy.config.route.v3.RouteAction.UpgradeConfig", fields: "upgrade_type enabled connect_config"},
	{message: "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig", fields: "proxy_protocol_config allow_post"},
	{
		message: "envoy.config.route.v3.RouteAction.MaxStreamDuration",
		fields:  "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset",
	},
	{
		message: "envoy.config.route.v3.WeightedCluster",
		fields:  "clusters runtime_key_prefix header_name use_hash_policy",
		muted:   map[string]string{"total_weight": "the total is the sum of the weights"},
	},
	{
		message: "envoy.config.route.v3.WeightedCluster.ClusterWeight",
		fields:  "name cluster_header weight metadata_match host_rewrite_literal" + headerMutation,
		hints:   map[string]string{"metadata_match": "only envoy.lb"},
	},
	{
		message: "envoy.config.route.v3.RouteAction.HashPolicy",
		fields:  "header cookie connection_properties query_parameter filter_state terminal",
	},
	{message: "envoy.config.route.v3.RouteAction.HashPolicy.Header", fields: "header_name regex_rewrite"},
	{message: "envoy.config.route.v3.RouteAction.HashPolicy.Cookie", fields: "name ttl path attributes"},
	{message: "envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute", fields: "name value"},
	{message: "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties", fields: "source_ip"},
	{message: "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter", fields: "name"},
	{message: "envoy.config.route.v3.RouteAction.HashPolicy.FilterState", fields: "key"},
	{message: "envoy.type.matcher.v3.RegexMatchAndSubstitute", fields: "pattern substitution"},
	{
		message: "envoy.config.route.v3.RedirectAction",
		fields: "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite " +
			"regex_rewrite path_rewrite response_code strip_query",
	},
	{message: "envoy.config.route.v3.DirectResponseAction", fields: "status body body_format"},
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

// Messages of path templates, and of match trees.
const (
	uriTemplateMatch   = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
	uriTemplateRewrite = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"

	networkInput = "envoy.extensions.matching.common_inputs.network.v3."
	treeActions  = "envoy.config.route.v3.Route envoy.config.route.v3.RouteList"
	treeInputs   = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput envoy.type.matcher.v3.HttpRequestQueryParamMatchInput " +
		networkInput + "SourceIPInput " + networkInput + "DirectSourceIPInput " + networkInput + "DestinationIPInput " +
		networkInput + "SourcePortInput " + networkInput + "DestinationPortInput " + networkInput + "ServerNameInput"

	noServer  = "configuration from a management server is not part of this version"
	noPlugins = "plugins that choose routes or clusters are not part of this version"
	onlyText  = "dynamic metadata here is text; use string_match"
)

// matchTreeSupport is what a virtual host's matcher is made of (RT-29), and scoped routes.
var matchTreeSupport = []messageSupport{
	{message: "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", fields: "header_name"},
	{message: "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", fields: "query_param"},
	{message: networkInput + "SourceIPInput"},
	{message: networkInput + "DirectSourceIPInput"},
	{message: networkInput + "DestinationIPInput"},
	{message: networkInput + "SourcePortInput"},
	{message: networkInput + "DestinationPortInput"},
	{message: networkInput + "ServerNameInput"},
	{
		message: scopedRoutesMessage,
		fields:  "name scope_key_builder scoped_route_configurations_list",
		hints:   map[string]string{"scoped_rds": noServer, "rds_config_source": noServer},
	},
	{message: scopedRoutesMessage + ".ScopeKeyBuilder", fields: "fragments"},
	{message: scopedRoutesMessage + ".ScopeKeyBuilder.FragmentBuilder", fields: "header_value_extractor"},
	{
		message: scopedRoutesMessage + ".ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor",
		fields:  "name element_separator index element",
	},
	{message: scopedRoutesMessage + ".ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement", fields: "separator key"},
	{
		message: "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRouteConfigurationsList",
		fields:  "scoped_route_configurations",
	},
	{
		message: "envoy.config.route.v3.ScopedRouteConfiguration",
		fields:  "name key route_configuration",
		muted:   map[string]string{"on_demand": "the route configuration is there already"},
		hints:   map[string]string{"route_configuration_name": "use route_configuration"},
	},
	{message: "envoy.config.route.v3.ScopedRouteConfiguration.Key", fields: "fragments"},
	{message: "envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment", fields: "string_key"},
}

const scopedRoutesMessage = "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes"
