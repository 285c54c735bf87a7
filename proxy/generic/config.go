package generic

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/codec/dubbo"
	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/httpframe"
	"github.com/sluiceproxy/sluice/codec/memcache"
	"github.com/sluiceproxy/sluice/codec/resp"
	"github.com/sluiceproxy/sluice/codec/thrift"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Config is a generic proxy compiled for use by every loop. Immutable. A request keeps the one it began
// with.
type Config struct {
	conf    *conf.GenericProxy
	codec   frame.Codec
	props   frame.Properties // nil: the codec has none
	editor  frame.Editor     // nil: they cannot be changed
	byID    bool
	single  bool // one request at a time on a bound connection
	bind    bool
	filters []filter
	routes  *table
	stats   *stats.GenericStats
	codes   *stats.GenericCodes
	logs    []*accesslog.Logger
	log     *slog.Logger
	// keepRequest and keepResponse: header frames have to outlive their event, for the log.
	keepRequest, keepResponse bool
	// bufferLimit is the listener's per_connection_buffer_limit_bytes.
	bufferLimit int
	// readLimit is what the decoder may have to see at once.
	readLimit int
}

// Live is the place a filter chain's loops read their current Config from.
type Live = atomic.Pointer[Config]

// Deps are the process-wide parts a Config is compiled against.
type Deps struct {
	Registry *stats.Registry
	Logs     *accesslog.Manager
	// Runtime has the values of runtime keys; nil: there are none.
	Runtime *runtime.Loader
	// Log takes what peers do wrong, at most a line a second; nil: nothing does.
	Log *slog.Logger
	// Codecs and Filters are the embedder's, by name.
	Codecs  map[string]frame.Codec
	Filters map[string]FilterFactory
}

// Compile makes the runtime form of a generic proxy of listener l. Errors carry the path within the filter.
func Compile(l *conf.Listener, c *conf.GenericProxy, d *Deps) (*Config, error) {
	out := &Config{
		conf: c, bind: c.BindUpstreamConnection, bufferLimit: int(l.PerConnectionBufferLimitBytes), log: d.Log,
		stats: stats.NewGenericStats(d.Registry, c.StatPrefix), codes: stats.NewGenericCodes(d.Registry, c.StatPrefix),
	}
	if out.log == nil {
		out.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if out.codec, err = codecOf(&c.Codec, d.Codecs); err != nil {
		return nil, fmt.Errorf("codec_config: %w", err)
	}
	out.props, _ = out.codec.(frame.Properties)
	out.editor, _ = out.codec.(frame.Editor)
	out.byID = out.codec.Matching() == frame.ByID
	out.single = out.codec.Matching() == frame.OneByOne
	out.readLimit = out.codec.MaxBuffered() + readAhead
	if out.filters, err = compileFilters(c.Filters, d.Filters); err != nil {
		return nil, err
	}
	b := routeBuilder{filters: out.filters, runtime: d.Runtime}
	if out.routes, err = b.compileTable(c.Routes); err != nil {
		return nil, fmt.Errorf("route_config.%w", err)
	}
	for i, lc := range c.AccessLogs {
		logger, err := d.Logs.CompileGeneric(lc)
		if err != nil {
			out.Close()
			return nil, fmt.Errorf("access_log[%d]: %w", i, err)
		}
		out.logs = append(out.logs, logger)
		out.keepRequest = out.keepRequest || logger.NeedsRequest()
		out.keepResponse = out.keepResponse || logger.NeedsResponse()
	}
	return out, nil
}

// readAhead is what a connection may keep beside what its decoder has to see: a read of the loop.
const readAhead = 16 << 10

// codecOf makes the codec of a configuration.
func codecOf(c *conf.GenericCodec, custom map[string]frame.Codec) (frame.Codec, error) {
	switch c.Kind {
	case conf.GenericRedis:
		return resp.Codec{Pipelined: c.Pipelined}, nil
	case conf.GenericThrift:
		return thrift.Codec{Only: thrift.Protocol(c.Protocol)}, nil
	case conf.GenericMemcache:
		return memcache.Codec{}, nil
	case conf.GenericDubbo:
		return dubbo.Codec{}, nil
	case conf.GenericHTTP1:
		if c.SingleFrame && c.MaxBufferBytes == 0 {
			return nil, errors.New("max_buffer_size: must be at least 1")
		}
		return httpframe.New(c.SingleFrame, int(c.MaxBufferBytes)), nil
	}
	if codec := custom[c.Name]; codec != nil {
		return codec, nil
	}
	return nil, fmt.Errorf("no codec %q is registered; there are: %s", c.Name, strings.Join(slices.Sorted(maps.Keys(custom)), ", "))
}

// Close gives back what Compile took: log files. Nothing may use the Config any more.
func (c *Config) Close() {
	for _, l := range c.logs {
		l.Close()
	}
}

// sameWire says whether a connection that began with c can go on with other.
func (c *Config) sameWire(other *Config) bool {
	return c.conf.Codec == other.conf.Codec && c.bind == other.bind
}
