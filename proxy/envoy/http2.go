//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// http2Ready says that connection managers and clusters speak HTTP/2; without it, all that asks for it is
// refused. A variable for the tests, which run with it.
var http2Ready = true

const noHTTP2 = "HTTP/2 is not part of this version"

// HTTP/2 and HTTP/1.1 as application protocols (RFC 9113 3.2, RFC 7301 6).
const (
	http2Protocol = "h2"
	http1Protocol = "http/1.1"
)

// managerHTTP2 compiles codec_type, http2_protocol_options and stream_error_on_invalid_http_message.
func (c *compiler) managerHTTP2(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	codec, here := at.field("codec_type"), at.field("http2_protocol_options")
	switch m.GetCodecType() {
	case hcmv3.HttpConnectionManager_HTTP1:
		out.CodecType = conf.CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		out.CodecType = conf.CodecHTTP2
	}
	h2, everywhere := m.GetHttp2ProtocolOptions(), m.GetStreamErrorOnInvalidHttpMessage()
	out.HTTP2 = c.http2(h2, here, everywhere)
	if !http2Ready {
		if out.CodecType == conf.CodecHTTP2 {
			c.errs.at(codec, "HTTP2 is not supported: %s", noHTTP2)
		}
		if h2 != nil {
			c.errs.at(here, "not supported: %s", noHTTP2)
		}
		out.CodecType = conf.CodecHTTP1 // AUTO would serve it
	}
	if everywhere.GetValue() {
		switch field := at.field("stream_error_on_invalid_http_message"); out.CodecType {
		case conf.CodecHTTP1:
			c.errs.at(field, "not supported: %s", alwaysClosed)
		case conf.CodecAuto:
			c.warn(field, "has an effect on HTTP/2 only: %s", alwaysClosed)
		}
	}
	switch {
	case out.CodecType == conf.CodecHTTP1 && h2 != nil:
		c.warn(here, "has no effect: codec_type is HTTP1")
	case out.CodecType == conf.CodecHTTP2 && m.GetHttpProtocolOptions() != nil:
		c.warn(at.field("http_protocol_options"), "has no effect: codec_type is HTTP2")
	}
	keep := here.field("connection_keepalive")
	switch k := &out.HTTP2.KeepAlive; {
	case k.IdleInterval > 0:
		c.warn(keep.field("connection_idle_interval"), "has no effect: a connection manager opens no streams; set it on the cluster")
		k.IdleInterval = 0
	case k.Timeout > 0 && k.Interval == 0:
		c.warn(keep, "has no effect without an interval")
	}
}

// http2 compiles the HTTP/2 options of a manager or cluster. everywhere is what the manager says for all
// its codecs, if it does: it goes before the deprecated field, and override_... goes before it.
func (c *compiler) http2(m *corev3.Http2ProtocolOptions, at place, everywhere *wrapperspb.BoolValue) conf.HTTP2Options {
	out := conf.NewHTTP2Options()
	for _, field := range []struct {
		to   *uint32
		from *wrapperspb.UInt32Value
	}{
		{&out.MaxConcurrentStreams, m.GetMaxConcurrentStreams()},
		{&out.InitialStreamWindowSize, m.GetInitialStreamWindowSize()},
		{&out.InitialConnectionWindowSize, m.GetInitialConnectionWindowSize()},
		{&out.HPACKTableSize, m.GetHpackTableSize()},
		{&out.MaxOutboundFrames, m.GetMaxOutboundFrames()},
		{&out.MaxOutboundControlFrames, m.GetMaxOutboundControlFrames()},
		{&out.MaxConsecutiveInboundFramesWithEmptyPayload, m.GetMaxConsecutiveInboundFramesWithEmptyPayload()},
		{&out.MaxInboundPriorityFramesPerStream, m.GetMaxInboundPriorityFramesPerStream()},
		{&out.MaxInboundWindowUpdateFramesPerDataFrame, m.GetMaxInboundWindowUpdateFramesPerDataFrameSent()},
	} {
		*field.to = number(field.from, *field.to) // their ranges are constraints of the message
	}
	out.AllowConnect = m.GetAllowConnect()
	out.StreamErrorOnInvalidMessage = boolean(m.GetOverrideStreamErrorOnInvalidHttpMessage(),
		boolean(everywhere, m.GetStreamErrorOnInvalidHttpMessaging()))
	if keep := m.GetConnectionKeepalive(); keep != nil {
		here := at.field("connection_keepalive")
		out.KeepAlive.Interval = c.duration(keep.GetInterval(), here.field("interval"), 0)
		out.KeepAlive.Timeout = c.duration(keep.GetTimeout(), here.field("timeout"), 0)
		out.KeepAlive.IdleInterval = c.duration(keep.GetConnectionIdleInterval(), here.field("connection_idle_interval"), 0)
		if jitter := keep.GetIntervalJitter(); jitter != nil {
			out.KeepAlive.JitterPercent = jitter.GetValue()
		}
	}
	return out
}

// managerALPN compares what a connection manager speaks with what its transport socket offers: clients
// believe it.
func (c *compiler) managerALPN(chain *conf.FilterChain, socket place) {
	if chain.TLS == nil || chain.HTTP == nil {
		return
	}
	here := socket.field("typed_config").field("common_tls_context").field("alpn_protocols")
	offered, codec := slices.Contains(chain.TLS.ALPN, http2Protocol), chain.HTTP.CodecType
	switch {
	case offered && !http2Ready:
		c.errs.at(here, "h2 is not supported before an http_connection_manager: %s", noHTTP2)
	case offered && codec == conf.CodecHTTP1:
		c.errs.at(here, "h2 is not served: codec_type is HTTP1")
	case codec != conf.CodecHTTP2:
	case !offered:
		c.warn(here, "has no h2, so that few clients find out that HTTP/2 is served: codec_type is HTTP2")
	case slices.Contains(chain.TLS.ALPN, http1Protocol):
		c.warn(here, "http/1.1 is not served: codec_type is HTTP2")
	}
}
