package conf

// HTTPFilter is one of a connection manager's http_filters but the router, which is always the last one.
type HTTPFilter struct {
	// Name is what typed_per_filter_config calls it, and what an embedder's is registered by.
	Name string
	// Disabled filters are only there for routes that have a configuration for them.
	Disabled bool
	// Config is one of the filter configurations of this package, a pointer; nil: an embedder's.
	Config any
}

// FilterConfig is what a route, a virtual host, or a route configuration says of one filter
// (typed_per_filter_config).
type FilterConfig struct {
	// Disabled takes the filter out of the chain (FilterConfig.disabled).
	Disabled bool
	// Optional says that the filter need not be in the chain, or be one that is known.
	Optional bool
	// Config is for the filter: one of the filter configurations of this package, a pointer, or what an
	// embedder's filter understands. nil: only Disabled counts.
	Config any
}

// FilterConfigs are the FilterConfigs of one level by the filter's name.
type FilterConfigs map[string]*FilterConfig
