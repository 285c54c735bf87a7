package worker

import (
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Upstream is this loop's half of one cluster: its balancer and its connections.
type Upstream struct {
	C        *cluster.Cluster
	w        *Worker
	balancer *cluster.Balancer
	// endpoints are the hosts this loop has used; ForgetHosts takes those that left.
	endpoints map[*cluster.Host]*Endpoint

	// Parse and HeaderCase are the cluster's HTTP/1 options, HTTP2 those of HTTP/2, compiled.
	Parse      http1.Options
	HeaderCase http1.HeaderCase
	HTTP2      http2.Options
	// OriginalHeader is the known name of the header that says where a request to an ORIGINAL_DST cluster goes.
	OriginalHeader header.Known
	http2Stats     *stats.HTTP2Stats // nil until there is an HTTP/2 connection
	// Maintenance is the share of requests that are answered 503 in the cluster's place.
	Maintenance *runtime.Fraction
	// tlvs are those that the cluster adds to the PROXY headers of its connections, compiled; nil when it
	// has no such headers.
	tlvs map[*conf.UpstreamProxyProtocol][]TLV

	// NamesTLS says that requests name the server, or what its certificate must be for (auto_sni,
	// auto_san_validation).
	NamesTLS bool
	sniField header.Known
}

// SpeaksProxy says whether connections of the cluster begin with a PROXY header, which is about one client.
func (u *Upstream) SpeaksProxy() bool { return u.tlvs != nil }

// TLVs returns those that a PROXY header has from the configuration.
func (u *Upstream) TLVs(p *conf.UpstreamProxyProtocol) []TLV { return u.tlvs[p] }

// OverriddenName returns what a request has in override_auto_sni_header; empty: the authority counts.
func (u *Upstream) OverriddenName(h *header.Head) []byte {
	name := u.C.Conf.SNIHeader
	if name == "" {
		return nil
	}
	if i := h.Find(u.sniField, name); i >= 0 {
		return h.Bytes(h.Fields[i].Value)
	}
	return nil
}

// compileTLVs compiles those of a transport socket; nil: it has no PROXY header.
func (u *Upstream) compileTLVs(p *conf.UpstreamProxyProtocol) {
	if p == nil {
		return
	}
	if u.tlvs == nil {
		u.tlvs = make(map[*conf.UpstreamProxyProtocol][]TLV)
	}
	u.tlvs[p] = nil
	for i := range p.Added {
		if t, err := CompileTLV(&p.Added[i]); err == nil { // the loader refuses what is wrong
			u.tlvs[p] = append(u.tlvs[p], t)
		}
	}
}

// TLV is a type-length-value of a PROXY header to be written.
type TLV struct {
	Kind   uint8
	Value  []byte            // when Format is nil
	Format *format.Formatter // of the session
}

// CompileTLV makes the runtime form of a TLV.
func CompileTLV(c *conf.ProxyProtocolTLV) (TLV, error) {
	out := TLV{Kind: c.Type, Value: c.Value}
	var err error
	if c.Format != nil {
		out.Format, err = format.CompileText(c.Format.Text, c.Format.OmitEmptyValues)
	}
	return out, err
}

func (w *Worker) adopt(c *cluster.Cluster) *Upstream {
	u := &Upstream{C: c, w: w, balancer: cluster.NewBalancer(c, w.Random.Uint64()), endpoints: make(map[*cluster.Host]*Endpoint)}
	u.Parse = http1.Options{MaxHeadBytes: c.Conf.MaxResponseHeadersKiB << 10, MaxFields: c.Conf.MaxHeadersCount, AllowHTTP10: true, EnableTrailers: c.Conf.HTTP1.EnableTrailers}
	u.HeaderCase = http1.HeaderCase(c.Conf.HTTP1.HeaderCase)
	u.HTTP2 = HTTP2Options(&c.Conf.HTTP2)
	u.HTTP2.MaxHeadBytes, u.HTTP2.MaxFields = u.Parse.MaxHeadBytes, u.Parse.MaxFields
	u.compileTLVs(c.Conf.ProxyProtocol)
	for i := range c.Conf.SocketMatches {
		u.compileTLVs(c.Conf.SocketMatches[i].Proxy)
	}
	u.NamesTLS = c.Conf.AutoSNI || c.Conf.AutoSANValidation
	u.sniField = header.Lookup([]byte(c.Conf.SNIHeader))
	if o := c.Conf.OriginalDst; o != nil {
		u.OriginalHeader = header.Lookup([]byte(o.HTTPHeader))
	}
	u.Maintenance = w.clusters.Runtime().Fraction("upstream.maintenance_mode."+c.Conf.Name, conf.Fraction{Denominator: 100})
	u.balancer.SetShard(w.Stats)
	w.upstreams[c] = u
	return u
}

// HTTP2Stats returns the counters of the cluster's HTTP/2 codec. Cold the first time.
func (u *Upstream) HTTP2Stats() *stats.HTTP2Stats {
	if u.http2Stats == nil {
		u.http2Stats = stats.NewClusterHTTP2Stats(u.C.Codes)
	}
	return u.http2Stats
}

// HTTP2Options compiles what a listener and a cluster say of HTTP/2 in the same words; what is not in
// the message (limits of heads) is the caller's.
func HTTP2Options(h *conf.HTTP2Options) http2.Options {
	o := http2.DefaultOptions()
	o.MaxConcurrentStreams = h.MaxConcurrentStreams
	o.InitialStreamWindow, o.InitialConnWindow = int32(h.InitialStreamWindowSize), int32(h.InitialConnectionWindowSize)
	o.TableSize = h.HPACKTableSize
	o.AllowConnect = h.AllowConnect
	o.StreamErrorOnInvalidMessage = h.StreamErrorOnInvalidMessage
	o.MaxOutboundFrames, o.MaxOutboundControlFrames = int(h.MaxOutboundFrames), int(h.MaxOutboundControlFrames)
	o.MaxConsecutiveEmptyFrames = h.MaxConsecutiveInboundFramesWithEmptyPayload
	o.MaxPriorityFramesPerStream = h.MaxInboundPriorityFramesPerStream
	o.MaxWindowUpdatesPerDataFrame = h.MaxInboundWindowUpdateFramesPerDataFrame
	return o
}

// Pick chooses a host; nil when the cluster has no usable one. No allocation once the loop has used
// the host.
func (u *Upstream) Pick() *Endpoint { return u.PickFor(nil) }

// PickFor is Pick for a request or connection that says which host it wants; c may be nil.
func (u *Upstream) PickFor(c *cluster.Choice) *Endpoint {
	random := uint64(0)
	if c != nil {
		random = c.Random
	}
	if random == 0 {
		random = u.w.Random.Uint64()
	}
	h := u.balancer.PickFor(random, c)
	if h == nil {
		return nil
	}
	if e := u.endpoints[h]; e != nil {
		return e
	}
	e := newEndpoint(u, h)
	u.endpoints[h] = e
	return e
}

// AppendName appends the name that a request with this authority goes to in a dynamic forward proxy. What a
// network filter has left in the filter state of conn comes before; nil: nothing has. It reports false when that
// is no name. No allocation.
func (u *Upstream) AppendName(dst, authority []byte, conn *streaminfo.Connection) ([]byte, bool) {
	port := u.C.DefaultPort()
	if conn != nil && conn.Extra != nil {
		if host, ok := conn.Extra.State.Get(streaminfo.KeyUpstreamDynamicHost); ok {
			authority = host
		}
		if text, ok := conn.Extra.State.Get(streaminfo.KeyUpstreamDynamicPort); ok {
			if n, err := strconv.ParseUint(string(text), 10, 16); err == nil && n > 0 {
				port = uint16(n)
			}
		}
	}
	host, text, ok := http1.SplitPort(authority)
	if !ok {
		host = authority // an address without brackets, or nothing that can be used
	} else if len(text) > 0 {
		n, err := strconv.ParseUint(string(text), 10, 16)
		if err != nil {
			return dst, false
		}
		port = uint16(n)
	}
	return cluster.AppendName(dst, host, port)
}

// Named returns the host of a dynamic forward proxy by its name (cluster.AppendName); nil when its DNS cache
// has no address for it. No allocation once the loop has been there.
func (u *Upstream) Named(key []byte) *cluster.Host { return u.balancer.Named(key) }

func (u *Upstream) drain() {
	for h, e := range u.endpoints {
		e.drain()
		delete(u.endpoints, h)
	}
}

// VisitHosts calls f for every host this loop knows.
func (u *Upstream) VisitHosts(f func(h *cluster.Host, l *cluster.HostLoad)) {
	for h, e := range u.endpoints {
		f(h, e.Load)
	}
}
