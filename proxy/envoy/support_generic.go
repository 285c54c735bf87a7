package envoy

// Messages of the generic proxy.
const (
	genericPackage      = "envoy.extensions.filters.network.generic_proxy."
	genericProxyMessage = genericPackage + "v3.GenericProxy"
	genericRouter       = genericPackage + "router.v3.Router"
	genericAction       = genericPackage + "action.v3.RouteAction"
	typedStructMessage  = "xds.type.v3.TypedStruct"
	genericCodecs       = genericPackage + "codecs.dubbo.v3.DubboCodecConfig " + genericPackage + "codecs.http1.v3.Http1CodecConfig " + typedStructMessage
	genericInputs       = genericPackage + "matcher.v3.HostMatchInput " + genericPackage + "matcher.v3.ServiceMatchInput " + genericPackage + "matcher.v3.PathMatchInput " +
		genericPackage + "matcher.v3.MethodMatchInput " + genericPackage + "matcher.v3.PropertyMatchInput " + genericRequestInput
	genericRequestInput   = genericPackage + "matcher.v3.RequestMatchInput"
	genericRequestMatcher = genericPackage + "matcher.v3.RequestMatcher"
	xdsMatcher            = "xds.type.matcher.v3.Matcher"
)

var genericSupport = []messageSupport{
	{
		message: genericProxyMessage,
		fields:  "stat_prefix codec_config route_config filters access_log",
		hints: map[string]string{
			"generic_rds": "routes from a management server are not part of this version; use route_config",
			"tracing":     noTracing,
		},
	},
	{message: genericPackage + "v3.RouteConfiguration", fields: "name routes virtual_hosts"},
	{message: genericPackage + "v3.VirtualHost", fields: "name hosts routes"},
	{message: genericRouter, fields: "bind_upstream_connection"},
	{message: genericPackage + "codecs.dubbo.v3.DubboCodecConfig"},
	{message: genericPackage + "codecs.http1.v3.Http1CodecConfig", fields: "single_frame_mode max_buffer_size"},
	{message: typedStructMessage, fields: "type_url value"},
	{
		message:  genericAction,
		fields:   "name cluster weighted_clusters metadata per_filter_config timeout retry_policy",
		payloads: map[string]string{"per_filter_config": typedStructMessage},
		hints:    map[string]string{"metadata": "only envoy.lb"},
	},
	{message: "envoy.config.core.v3.RetryPolicy", fields: "num_retries"},
	{message: genericPackage + "matcher.v3.HostMatchInput"},
	{message: genericPackage + "matcher.v3.ServiceMatchInput"},
	{message: genericPackage + "matcher.v3.PathMatchInput"},
	{message: genericPackage + "matcher.v3.MethodMatchInput"},
	{message: genericPackage + "matcher.v3.PropertyMatchInput", fields: "property_name"},
	{message: genericRequestInput},
	{message: genericRequestMatcher, fields: "host path method properties"},
	{message: genericPackage + "matcher.v3.KeyValueMatchEntry", fields: "name string_match"},

	{message: xdsMatcher, fields: "matcher_list matcher_tree on_no_match"},
	{message: xdsMatcher + ".OnMatch", fields: "matcher action keep_matching", hints: map[string]string{"keep_matching": "of routes only"}},
	{message: xdsMatcher + ".MatcherList", fields: "matchers"},
	{message: xdsMatcher + ".MatcherList.FieldMatcher", fields: "predicate on_match"},
	{message: xdsMatcher + ".MatcherList.Predicate", fields: "single_predicate or_matcher and_matcher not_matcher"},
	{message: xdsMatcher + ".MatcherList.Predicate.SinglePredicate", fields: "input value_match custom_match"},
	{message: xdsMatcher + ".MatcherList.Predicate.PredicateList", fields: "predicate"},
	{
		message: xdsMatcher + ".MatcherTree", fields: "input exact_match_map prefix_match_map",
		hints: map[string]string{"custom_match": "trees that are extensions are not part of this version"},
	},
	{message: xdsMatcher + ".MatcherTree.MatchMap", fields: "map"},
	{
		message: "xds.type.matcher.v3.StringMatcher", fields: "exact prefix suffix safe_regex contains ignore_case",
		hints: map[string]string{"custom": noMatchers},
	},
	{message: "xds.type.matcher.v3.RegexMatcher", fields: "google_re2 regex"},
	{message: "xds.type.matcher.v3.RegexMatcher.GoogleRE2"},
	{
		message: "xds.core.v3.TypedExtensionConfig", fields: "name typed_config",
		payloads: map[string]string{"typed_config": genericInputs + " " + genericRequestMatcher + " " + genericAction + " " + treeInputs + " " + treeActions},
	},
}
