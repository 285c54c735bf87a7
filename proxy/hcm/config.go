package hcm

import (
	"fmt"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/forwarded"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Config is a connection manager compiled for use by every loop. Immutable. A stream keeps the one
// it began with; a changed configuration reaches the next stream of a live connection.
type Config struct {
	conf      *conf.HTTPConnectionManager
	routes    *route.Routes
	forwarded *forwarded.Policy
	logs      []*accesslog.Logger
	stats     *stats.HTTPStats
	listener  *stats.ListenerHTTPStats

	parse http1.Options
	h2    http2.Options
	http2 *stats.HTTP2Stats
	// http2Counters are those of http2, and the one that is in stats, by the codec's number.
	http2Counters [http2.NumCounters]stats.Counter
	paths         http1.PathOptions
	hcase         http1.HeaderCase
	replies       localReplies
	upgrades      upgrades
	bufferLimit   int
	// filters are those before the router; nil without any.
	filters *filterChain
	// explainTo are the clients that may ask for explanations.
	explainTo *runtime.Prefixes
	router    routerConfig
	// retainResponse: a log reads the response head after its bytes would be gone.
	retainResponse bool
}

// Deps are the process-wide parts a Config is compiled against.
type Deps struct {
	Registry *stats.Registry
	Logs     *accesslog.Manager
	Node     conf.Node
	Runtime  *runtime.Loader // nil: defaults
	// Filters are the embedder's own, by the name that conf.HTTPFilter calls them.
	Filters map[string]filter.Factory
	// Loops is how many loops use what is compiled; 0 reads as 1.
	Loops int
	// HealthFailed says whether /healthcheck/fail is in force; nil: never.
	HealthFailed func() bool
}

// Live is the place a listener's loops read its current Config from.
type Live = atomic.Pointer[Config]

// Compile makes the runtime form of a connection manager of listener l. address names the listener in
// stats. Errors carry the path within the manager.
func Compile(l *conf.Listener, c *conf.HTTPConnectionManager, address string, d *Deps) (*Config, error) {
	routes, err := route.CompileRoutes(c, route.Options{Runtime: d.Runtime, Registry: d.Registry})
	if err != nil {
		return nil, err
	}
	out := &Config{
		conf: c, routes: routes,
		forwarded:   forwarded.Compile(c, d.Node),
		stats:       stats.NewHTTPStats(d.Registry, c.StatPrefix),
		listener:    stats.NewListenerHTTPStats(d.Registry, address, c.StatPrefix),
		bufferLimit: int(l.PerConnectionBufferLimitBytes),
		explainTo:   d.Runtime.Prefixes(explainKey),
	}
	if out.filters, err = compileFilters(c.Filters, c.RouteTables(), d, stats.Clean(c.StatPrefix), false); err != nil {
		return nil, err
	}
	if out.upgrades, err = compileUpgrades(c, d); err != nil {
		return nil, err
	}
	out.retainResponse = out.filters != nil
	for _, chain := range out.upgrades.chains {
		out.retainResponse = out.retainResponse || chain != nil
	}
	for i, lc := range c.AccessLogs {
		logger, err := d.Logs.Compile(lc)
		if err != nil {
			return nil, fmt.Errorf("access_log[%d]: %w", i, err)
		}
		out.logs = append(out.logs, logger)
		out.retainResponse = out.retainResponse || logger.NeedsResponse()
	}
	out.parse = http1.Options{
		MaxHeadBytes: c.MaxRequestHeadersKiB << 10, MaxFields: c.MaxHeadersCount,
		AllowHTTP10: c.HTTP1.AcceptHTTP10, AllowAbsoluteURL: c.HTTP1.AllowAbsoluteURL,
		AllowCustomMethods: c.HTTP1.AllowCustomMethods, AllowChunkedLength: c.HTTP1.AllowChunkedLength,
		EnableTrailers: c.HTTP1.EnableTrailers,
		Underscores:    http1.UnderscorePolicy(c.HeadersWithUnderscores),
	}
	if out.router, err = compileRouter(&c.Router, d); err != nil {
		return nil, err
	}
	out.compileHTTP2(d.Registry)
	out.paths = http1.PathOptions{
		Normalize: c.NormalizePath, MergeSlashes: c.MergeSlashes,
		EscapedSlashes: http1.EscapedSlashAction(c.EscapedSlashes), RejectFragment: true,
	}
	out.hcase = http1.HeaderCase(c.HTTP1.HeaderCase)
	if out.replies, err = compileReplies(&c.LocalReply, d.Logs); err != nil {
		return nil, fmt.Errorf("local_reply_config: %w", err)
	}
	return out, nil
}

// compileHTTP2 makes the codec's options and the table of its counters.
func (c *Config) compileHTTP2(r *stats.Registry) {
	c.h2 = worker.HTTP2Options(&c.conf.HTTP2)
	c.h2.MaxHeadBytes, c.h2.MaxFields, c.h2.Underscores = c.parse.MaxHeadBytes, c.parse.MaxFields, c.parse.Underscores
	c.h2.MaxRequestsPerFeed = requestsPerFeed
	s := stats.NewHTTP2Stats(r, "")
	c.http2 = s
	c.http2Counters = worker.HTTP2Counters(s)
	c.http2Counters[http2.TooManyPrematureResets] = c.stats.DownstreamRqTooManyPrematureResets
}

// Close gives back what Compile took: log files. Nothing may use the Config any more.
func (c *Config) Close() {
	for _, l := range c.logs {
		l.Close()
	}
	for _, l := range c.router.logs {
		l.Close()
	}
}

// Clusters returns the names the routes refer to.
func (c *Config) Clusters() []string { return c.routes.Clusters() }

type replyMapper struct {
	filter  *accesslog.Filter
	status  uint16
	body    []byte
	hasBody bool
	format  *format.Body
	headers []replyHeader
}

type replyHeader struct {
	name  string
	value *format.Formatter
	conf  conf.HeaderValue
}

// localReplies is a compiled local_reply_config.
type localReplies struct {
	format  *format.Body
	mappers []replyMapper
}

func compileReplies(c *conf.LocalReply, logs *accesslog.Manager) (localReplies, error) {
	var out localReplies
	var err error
	if out.format, err = format.CompileBody(c.BodyFormat); err != nil {
		return out, fmt.Errorf("body_format: %w", err)
	}
	for i := range c.Mappers {
		m := &c.Mappers[i]
		r := replyMapper{status: m.StatusCode}
		if r.filter, err = logs.CompileFilter(m.Filter); err != nil {
			return out, fmt.Errorf("mappers[%d].filter: %w", i, err)
		}
		if m.Body != nil {
			r.body, r.hasBody = []byte(*m.Body), true
		}
		if r.format, err = format.CompileBody(m.BodyFormat); err != nil {
			return out, fmt.Errorf("mappers[%d].body_format_override: %w", i, err)
		}
		for j, hv := range m.HeadersAdd {
			f, err := format.Compile(hv.Value)
			if err != nil {
				return out, fmt.Errorf("mappers[%d].headers_to_add[%d]: %w", i, j, err)
			}
			r.headers = append(r.headers, replyHeader{name: hv.Name, value: f, conf: hv})
		}
		out.mappers = append(out.mappers, r)
	}
	return out, nil
}
