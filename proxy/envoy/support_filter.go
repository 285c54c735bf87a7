package envoy

// Messages of HTTP filters and of what routes say of them.
const (
	httpFilterPrefix  = "envoy.extensions.filters.http."
	bufferMessage     = httpFilterPrefix + "buffer.v3.Buffer"
	dynamicMessage    = httpFilterPrefix + "dynamic_forward_proxy.v3.FilterConfig"
	corsMessage       = httpFilterPrefix + "cors.v3.Cors"
	faultMessage      = httpFilterPrefix + "fault.v3.HTTPFault"
	mutationMessage   = httpFilterPrefix + "header_mutation.v3.HeaderMutation"
	healthMessage     = httpFilterPrefix + "health_check.v3.HealthCheck"
	httpRateMessage   = httpFilterPrefix + "local_ratelimit.v3.LocalRateLimit"
	httpRBACMessage   = httpFilterPrefix + "rbac.v3.RBAC"
	httpFilters       = routerMessage + " " + bufferMessage + " " + corsMessage + " " + dynamicMessage + " " + faultMessage + " " + mutationMessage + " " + healthMessage + " " + httpRateMessage + " " + httpRBACMessage
	bufferRoute       = httpFilterPrefix + "buffer.v3.BufferPerRoute"
	dynamicRoute      = httpFilterPrefix + "dynamic_forward_proxy.v3.PerRouteConfig"
	corsRoute         = httpFilterPrefix + "cors.v3.CorsPolicy"
	mutationRoute     = httpFilterPrefix + "header_mutation.v3.HeaderMutationPerRoute"
	httpRBACRoute     = httpFilterPrefix + "rbac.v3.RBACPerRoute"
	filterConfig      = "envoy.config.route.v3.FilterConfig"
	routeFilterConfig = bufferRoute + " " + corsRoute + " " + dynamicRoute + " " + faultMessage + " " + mutationRoute + " " + httpRateMessage + " " + httpRBACRoute
	perFilter         = "typed_per_filter_config"
)

// perFilterPayloads are those of typed_per_filter_config.
var perFilterPayloads = map[string]string{perFilter: filterConfig + " " + routeFilterConfig}

const (
	noTrailerMutation = "trailers are not changed in this version"
	noAction          = "not one of the actions of this version: generic_key, request_headers, remote_address, header_value_match, source_cluster, destination_cluster"
)

var filterSupport = []messageSupport{
	{message: filterConfig, fields: "config is_optional disabled", payloads: map[string]string{"config": routeFilterConfig}},
	{message: bufferMessage, fields: "max_request_bytes"},
	{message: bufferRoute, fields: "disabled buffer"},
	{
		message: dynamicMessage, fields: "dns_cache_config save_upstream_address allow_dynamic_host_from_filter_state",
		hints: map[string]string{"sub_cluster_config": "use dns_cache_config, as the cluster does"},
	},
	{message: dynamicRoute, fields: "host_rewrite_literal host_rewrite_header"},
	{message: corsMessage},
	{
		message: corsRoute,
		fields: "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled shadow_enabled " +
			"allow_private_network_access forward_not_matching_preflights",
	},
	{
		message: faultMessage,
		fields: "delay abort upstream_cluster headers downstream_nodes max_active_faults response_rate_limit delay_percent_runtime " +
			"abort_percent_runtime delay_duration_runtime abort_http_status_runtime max_active_faults_runtime " +
			"response_rate_limit_percent_runtime abort_grpc_status_runtime",
		muted: map[string]string{"disable_downstream_cluster_stats": "there are no statistics by downstream cluster in this version"},
		hints: map[string]string{"filter_metadata": "metadata of faults is not part of this version"},
	},
	{message: "envoy.extensions.filters.http.fault.v3.FaultAbort", fields: "http_status grpc_status header_abort percentage"},
	{message: "envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort"},
	{message: "envoy.extensions.filters.common.fault.v3.FaultDelay", fields: "fixed_delay header_delay percentage"},
	{message: "envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay"},
	{message: "envoy.extensions.filters.common.fault.v3.FaultRateLimit", fields: "fixed_limit header_limit percentage"},
	{message: "envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit", fields: "limit_kbps"},
	{message: "envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit"},
	{message: mutationMessage, fields: "mutations most_specific_header_mutations_wins"},
	{message: mutationRoute, fields: "mutations"},
	{
		message: httpFilterPrefix + "header_mutation.v3.Mutations",
		fields:  "request_mutations response_mutations",
		hints: map[string]string{
			"query_parameter_mutations":   "query parameters are not changed in this version",
			"response_trailers_mutations": noTrailerMutation, "request_trailers_mutations": noTrailerMutation,
			"formatters": "there are no formatters that are extensions",
		},
	},
	{
		message: "envoy.config.common.mutation_rules.v3.HeaderMutation", fields: "remove append",
		hints: map[string]string{"remove_on_match": "use remove"},
	},
	{message: healthMessage, fields: "pass_through_mode cache_time cluster_min_healthy_percentages headers"},
	{
		message: httpRateMessage,
		fields: "stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced response_headers_to_add " +
			"descriptors local_rate_limit_per_downstream_connection enable_x_ratelimit_headers always_consume_default_token_bucket " +
			"rate_limited_as_resource_exhausted rate_limits",
		hints: map[string]string{
			"local_cluster_rate_limit": "there is no local cluster", "stage": "use rate_limits", "vh_rate_limits": "use rate_limits",
			"max_dynamic_descriptors": "descriptors for any value are not part of this version",
		},
	},
	{message: "envoy.type.v3.HttpStatus", fields: "code"},
	{
		message: "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor", fields: "entries token_bucket",
		hints: map[string]string{"shadow_mode": "use filter_enforced"},
	},
	{message: "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry", fields: "key value"},
	{message: "envoy.config.route.v3.RateLimit", fields: "actions"},
	{
		message: "envoy.config.route.v3.RateLimit.Action",
		fields:  "generic_key request_headers remote_address header_value_match source_cluster destination_cluster",
		hints: map[string]string{
			"dynamic_metadata": noAction, "metadata": noAction, "extension": noAction, "masked_remote_address": noAction, "query_parameter_value_match": noAction,
			"query_parameters": noAction,
		},
	},
	{message: "envoy.config.route.v3.RateLimit.Action.GenericKey", fields: "descriptor_value descriptor_key"},
	{message: "envoy.config.route.v3.RateLimit.Action.RequestHeaders", fields: "header_name descriptor_key skip_if_absent"},
	{message: "envoy.config.route.v3.RateLimit.Action.RemoteAddress"},
	{message: "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch", fields: "descriptor_value descriptor_key expect_match headers"},
	{message: "envoy.config.route.v3.RateLimit.Action.SourceCluster"},
	{message: "envoy.config.route.v3.RateLimit.Action.DestinationCluster"},
	{
		message: httpRBACMessage, fields: "rules shadow_rules rules_stat_prefix shadow_rules_stat_prefix",
		hints: map[string]string{"matcher": onlyRules, "shadow_matcher": "use shadow_rules", "track_per_rule_stats": "there are no statistics by policy"},
	},
	{message: httpRBACRoute, fields: "rbac"},
	{message: "envoy.type.matcher.v3.PathMatcher", fields: "path"},
	{message: "envoy.config.rbac.v3.Principal.Authenticated", fields: "principal_name"},
}
