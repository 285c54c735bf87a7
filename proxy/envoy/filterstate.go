//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"slices"
	"strconv"
	"strings"

	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// stateKind is what the values of an object factory must be.
type stateKind uint8

const (
	stateText stateKind = iota
	stateBool
	stateNumber
	statePort
)

func (k stateKind) String() string {
	return [...]string{"text", "true or false", "a number", "a port"}[k]
}

// takes says whether a value can be of the kind.
func (k stateKind) takes(value string) bool {
	switch k {
	case stateBool:
		return value == "true" || value == "false"
	case stateNumber, statePort:
		bits := 64
		if k == statePort {
			bits = 16
		}
		_, err := strconv.ParseUint(value, 10, bits)
		return err == nil
	}
	return true
}

// objectFactory makes the values of filter state; all but the first two are also keys (tcp_proxy.md 11).
type objectFactory struct {
	key  string
	kind stateKind
}

var objectFactories = []objectFactory{
	{"envoy.string", stateText},
	{"envoy.hashable_string", stateText},
	{tcpClusterKey, stateText},
	{"envoy.tcp_proxy.receive_before_connect", stateBool},
	{"envoy.tcp_proxy.disable_tunneling", stateBool},
	{"envoy.tcp_proxy.per_connection_idle_timeout_ms", stateNumber},
	{"envoy.network.upstream_server_name", stateText},
	{"envoy.network.application_protocols", stateText},
	{"envoy.network.upstream_subject_alt_names", stateText},
	{"envoy.upstream.dynamic_host", stateText},
	{"envoy.upstream.dynamic_port", statePort},
}

func findFactory(key string) (kind stateKind, known bool) {
	i := slices.IndexFunc(objectFactories, func(f objectFactory) bool { return f.key == key })
	if i < 0 {
		return 0, false
	}
	return objectFactories[i].kind, true
}

// filterStateValue compiles one value of set_filter_state.
func (c *compiler) filterStateValue(m *statev3.FilterStateValue, at place) conf.FilterStateValue {
	format := at.field("format_string")
	out := conf.FilterStateValue{
		Key: m.GetObjectKey(), Factory: m.GetFactoryKey(), Format: c.format(m.GetFormatString(), format),
		SkipIfEmpty: m.GetSkipIfEmpty(), ReadOnly: m.GetReadOnly(),
	}
	here := at.field("factory_key")
	if out.Factory == "" {
		out.Factory, here = out.Key, at.field("object_key")
	}
	kind, known := findFactory(out.Factory)
	own, reserved := findFactory(out.Key)
	switch {
	case !known:
		var names []string
		for _, f := range objectFactories {
			names = append(names, f.key)
		}
		c.errs.at(here, "%s does not say what kind of value it is; factory_key can be %s", shorten(out.Factory), alternatives(names))
	case reserved && own != kind:
		c.errs.at(here, "the value of %s is %s, not %s", out.Key, own, kind)
	case out.Format != nil && out.Format.JSON == nil && !strings.Contains(out.Format.Text, "%") && !kind.takes(out.Format.Text):
		c.errs.at(format, "%s is not %s", shorten(out.Format.Text), kind)
	}
	return out
}
