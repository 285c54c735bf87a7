package envoy

// Extensions that policies of routes may name (router.md 5.5 and 9).
const (
	hostPredicates = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate " +
		"envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate " + omitHostMetadata
	omitHostMetadata   = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"
	retryPriorities    = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
	redirectPredicates = "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig " +
		allowListedRoutes + " envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig"
	allowListedRoutes = "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig"
)

var retrySupport = []messageSupport{
	{
		message: "envoy.config.route.v3.RetryPolicy",
		fields: "retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate host_selection_retry_max_attempts " +
			"retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers retriable_request_headers",
		hints: map[string]string{
			"retry_options_predicates": "there are none",
			"refresh_cluster_on_retry": "a retry goes to the cluster of its request",
		},
	},
	{
		message:  "envoy.config.route.v3.RetryPolicy.RetryHostPredicate",
		fields:   "name typed_config",
		payloads: map[string]string{"typed_config": hostPredicates},
	},
	{
		message:  "envoy.config.route.v3.RetryPolicy.RetryPriority",
		fields:   "name typed_config",
		payloads: map[string]string{"typed_config": retryPriorities},
	},
	{message: "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
	{message: "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"},
	{message: omitHostMetadata, fields: "metadata_match"},
	{message: retryPriorities, fields: "update_frequency"},
	{message: "envoy.config.route.v3.RetryPolicy.RetryBackOff", fields: "base_interval max_interval"},
	{message: "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff", fields: "reset_headers max_interval"},
	{message: "envoy.config.route.v3.RetryPolicy.ResetHeader", fields: "name format"},
	{
		message: "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
		fields:  "budget_percent min_retry_concurrency",
		hints:   map[string]string{"budget_interval": "the requests that are active now count"},
	},
	{
		message: "envoy.config.route.v3.HedgePolicy",
		fields:  "initial_requests additional_request_chance hedge_on_per_try_timeout",
		hints: map[string]string{
			"initial_requests":          "1 only",
			"additional_request_chance": "0 only",
		},
	},
	{
		message: "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
		fields:  "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append request_headers_mutations host_rewrite_literal",
		muted:   map[string]string{"trace_sampled": noTracing},
	},
	{
		message: "envoy.config.route.v3.InternalRedirectPolicy",
		fields:  "max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect response_headers_to_copy",
	},
	{message: "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig"},
	{message: allowListedRoutes, fields: "allowed_route_names"},
	{message: "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig"},
}
