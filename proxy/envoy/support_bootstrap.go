package envoy

var bootstrapSupport = []messageSupport{
	{
		message:  "envoy.config.bootstrap.v3.Bootstrap",
		fields:   "node static_resources layered_runtime admin typed_dns_resolver_config cluster_manager bootstrap_extensions",
		payloads: map[string]string{"typed_dns_resolver_config": dnsResolvers, "bootstrap_extensions": internalListenerMessage},
		muted: map[string]string{
			"stats_flush_interval": "statistics are merged when they are read",
		},
		hints: map[string]string{
			"dynamic_resources":     "configuration from a management server is not part of this version",
			"overload_manager":      "the overload manager is not part of this version",
			"stats_config":          "tags and matchers of statistics are the built-in ones",
			"stats_sinks":           "statistics are read from the admin listener",
			"tracing":               noTracing,
			"dns_resolution_config": "use typed_dns_resolver_config",
		},
	},
	{message: "envoy.config.bootstrap.v3.ClusterManager", fields: "local_cluster_name"},
	{
		message: "envoy.config.bootstrap.v3.Bootstrap.StaticResources",
		fields:  "listeners clusters secrets",
	},
	{
		message: "envoy.config.bootstrap.v3.Admin",
		fields:  "address access_log access_log_path allow_paths",
		muted: map[string]string{
			"profile_path":             "profiles are served by the admin listener, not written to a file",
			"ignore_global_conn_limit": noGlobalLimit,
		},
		hints: map[string]string{
			"access_log":      "only a file logger with path /dev/null: admin requests are not logged",
			"access_log_path": "only /dev/null: admin requests are not logged",
			"allow_paths":     "exact and prefix matchers",
		},
	},
	{message: "envoy.config.bootstrap.v3.LayeredRuntime", fields: "layers"},
	{
		message: "envoy.config.bootstrap.v3.RuntimeLayer",
		fields:  "name static_layer admin_layer disk_layer",
	},
	{message: "envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer", fields: "symlink_root subdirectory append_service_cluster"},
	{message: "envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer"},
	{
		message: "envoy.config.core.v3.Node",
		fields:  "id cluster locality",
		muted:   map[string]string{"metadata": "only management servers read it"},
	},
	{message: "envoy.config.core.v3.Locality", fields: "region zone sub_zone"},
	{
		message: "envoy.config.core.v3.Address",
		fields:  "socket_address pipe envoy_internal_address",
	},
	{
		message: "envoy.config.core.v3.SocketAddress",
		fields:  "protocol address port_value ipv4_compat",
		values:  map[string]string{"protocol": "TCP"},
	},
	{message: "envoy.config.core.v3.Pipe", fields: "path mode"},
	{message: "envoy.config.core.v3.EnvoyInternalAddress", fields: "server_listener_name endpoint_id"},
	{message: internalListenerMessage, fields: "buffer_size_kb"},
	{
		message:  "envoy.config.core.v3.TypedExtensionConfig",
		fields:   "name typed_config",
		payloads: map[string]string{"typed_config": dnsResolvers + " " + preserveCase + " " + genericCodecs + " " + genericRouter + " " + uriTemplateMatch + " " + uriTemplateRewrite + " " + redirectPredicates},
	},
	{
		message: "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
		fields:  "resolvers dns_resolver_options",
	},
	{message: "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"},
	{message: "envoy.config.core.v3.DnsResolverOptions", fields: "use_tcp_for_dns_lookups"},
	{
		message: "envoy.config.core.v3.DataSource",
		fields:  "filename inline_bytes inline_string environment_variable",
		hints:   map[string]string{"watched_directory": "files of TLS contexts are watched anyway; others are read when the configuration is loaded"},
	},
}
