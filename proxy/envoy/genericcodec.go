package envoy

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dubbov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/codecs/dubbo/v3"
	genhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/codecs/http1/v3"
	"google.golang.org/protobuf/types/known/structpb"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// codecURL is what the type_url of our codecs' configurations begins with (AMB-28): Envoy has no message
// for them.
const codecURL = "type.googleapis.com/sluice.generic_proxy.codecs."

// codecTypes are those configurations.
var codecTypes = []string{"memcache.v1.MemcacheCodecConfig", "resp.v1.RespCodecConfig", "thrift.v1.ThriftCodecConfig"}

// genericCodec compiles a codec_config.
func (c *compiler) genericCodec(m *corev3.TypedExtensionConfig, at place) conf.GenericCodec {
	var out conf.GenericCodec
	config := at.field("typed_config")
	switch t := c.unpack(m.GetTypedConfig(), config).(type) {
	case *dubbov3.DubboCodecConfig:
		out.Kind = conf.GenericDubbo
	case *genhttpv3.Http1CodecConfig:
		out.Kind = conf.GenericHTTP1
		out.SingleFrame = boolean(t.GetSingleFrameMode(), true)
		out.MaxBufferBytes = number(t.GetMaxBufferSize(), 8<<20)
		if out.MaxBufferBytes == 0 || out.MaxBufferBytes > 1<<30 {
			c.errs.at(config.field("max_buffer_size"), "must be 1 to %d", 1<<30)
		}
	case *xdstypev3.TypedStruct:
		c.typedStructCodec(t, config, &out)
	default:
		c.errs.at(config, "is not a codec; supported here: %s", alternatives(payloadsOf(genericCodecs)))
	}
	return out
}

// typedStructCodec compiles one of our own configurations.
func (c *compiler) typedStructCodec(m *xdstypev3.TypedStruct, at place, out *conf.GenericCodec) {
	name, ok := strings.CutPrefix(m.GetTypeUrl(), codecURL)
	custom := messageName(m.GetTypeUrl())
	if !ok || !slices.Contains(codecTypes, name) {
		if slices.Contains(c.genericNames.Codecs, custom) {
			out.Name = custom
			c.onlyKeys(m, at.field("value"), "")
			return
		}
		full := make([]string, len(codecTypes))
		for i, t := range codecTypes {
			full[i] = codecURL + t
		}
		c.errs.at(at.field("type_url"), "%s is not a codec; supported here: %s%s", shorten(m.GetTypeUrl()), alternatives(full), registered("codecs", c.genericNames.Codecs))
		return
	}
	fields, value := m.GetValue().GetFields(), at.field("value")
	known := ""
	switch name {
	case "resp.v1.RespCodecConfig":
		out.Kind, known = conf.GenericRedis, "pipelining"
		if v := fields[known]; v != nil {
			b, ok := v.GetKind().(*structpb.Value_BoolValue)
			if !ok {
				c.errs.at(value.key(known), "expected true or false")
			} else {
				out.Pipelined = b.BoolValue
			}
		}
	case "thrift.v1.ThriftCodecConfig":
		out.Kind, known = conf.GenericThrift, "protocol"
		if v := fields[known]; v != nil {
			at := slices.Index([]string{"AUTO", "BINARY", "COMPACT"}, v.GetStringValue())
			if at < 0 {
				c.errs.at(value.key(known), "expected AUTO, BINARY or COMPACT")
			} else {
				out.Protocol = conf.ThriftProtocol(at)
			}
		}
	default:
		out.Kind = conf.GenericMemcache
	}
	c.onlyKeys(m, value, known)
}

// onlyKeys refuses all keys of a TypedStruct but one.
func (c *compiler) onlyKeys(m *xdstypev3.TypedStruct, value place, known string) {
	for _, key := range value.pos.order { // in the order of the text
		if _, set := m.GetValue().GetFields()[key]; set && key != known {
			c.errs.at(value.key(key), "unknown field")
		}
	}
}
