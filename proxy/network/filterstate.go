package network

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// setFilterState is envoy.filters.network.set_filter_state. Immutable.
type setFilterState struct {
	values []stateValue
	stats  *stats.SetFilterStateStats
}

type stateValue struct {
	key       string
	text      *format.Formatter
	json      *format.JSONFormatter // nil: text
	kind      *kind
	skipEmpty bool
	readOnly  bool
}

// kind is what a factory makes of text: which texts it takes.
type kind struct {
	want  string
	takes func(text []byte) bool
}

var (
	anyText = &kind{"text", func([]byte) bool { return true }}
	boolean = &kind{"true or false", func(v []byte) bool { return string(v) == "true" || string(v) == "false" }}
	uint64s = &kind{"a decimal number of at most 64 bits", func(v []byte) bool { return isNumber(v, 64) }}
	ports   = &kind{"a port number", func(v []byte) bool { return isNumber(v, 16) }}
)

// factories by factory_key (tcp_proxy.md 11): a well-known key has one of its name, and the last two
// are for any other.
var factories = map[string]*kind{
	streaminfo.KeyTCPCluster:              anyText,
	streaminfo.KeyTCPReceiveBeforeConnect: boolean,
	streaminfo.KeyTCPDisableTunneling:     boolean,
	streaminfo.KeyTCPIdleTimeoutMs:        uint64s,
	streaminfo.KeyUpstreamServerName:      anyText,
	streaminfo.KeyUpstreamALPN:            anyText,
	streaminfo.KeyUpstreamSANs:            anyText,
	streaminfo.KeyUpstreamDynamicHost:     anyText,
	streaminfo.KeyUpstreamDynamicPort:     ports,
	"envoy.string":                        anyText,
	"envoy.hashable_string":               anyText,
}

func isNumber(v []byte, bits int) bool {
	if len(v) == 0 || len(v) > 20 {
		return false
	}
	_, err := strconv.ParseUint(string(v), 10, bits) // a copy is made for an error only
	return err == nil
}

func newSetFilterState(c *conf.SetFilterState, d Deps) (Filter, error) {
	f := &setFilterState{stats: stats.NewSetFilterStateStats(d.Registry)}
	for i := range c.OnNewConnection {
		v, err := newStateValue(&c.OnNewConnection[i])
		if err != nil {
			return nil, fmt.Errorf("on_new_connection[%d].%w", i, err)
		}
		f.values = append(f.values, v)
	}
	return f, nil
}

func newStateValue(c *conf.FilterStateValue) (stateValue, error) {
	v := stateValue{key: c.Key, skipEmpty: c.SkipIfEmpty, readOnly: c.ReadOnly}
	if c.Key == "" {
		return v, errors.New("object_key: must not be empty")
	}
	factory := c.Factory
	if factory == "" {
		factory = c.Key
	}
	if v.kind = factories[factory]; v.kind == nil {
		return v, fmt.Errorf("factory_key: there is no factory %q; there are: %s", factory, strings.Join(slices.Sorted(maps.Keys(factories)), ", "))
	}
	if own := factories[c.Key]; own != nil && own != v.kind {
		return v, fmt.Errorf("factory_key: what %q makes is not what %s holds: %s", factory, c.Key, own.want)
	}
	var err error
	switch {
	case c.Format == nil:
		err = errors.New("must be set")
	case c.Format.JSON != nil:
		v.json, err = format.CompileJSON(c.Format.JSON, c.Format.OmitEmptyValues)
	default:
		v.text, err = format.CompileText(c.Format.Text, c.Format.OmitEmptyValues)
	}
	if err != nil {
		return v, fmt.Errorf("format_string: %w", err)
	}
	if v.text == nil {
		return v, nil
	}
	// A value that is the same for every connection can be judged now.
	if text, static := v.text.Static(); static && !v.kind.takes([]byte(text)) && !(text == "" && v.skipEmpty) {
		return v, fmt.Errorf("format_string: %q is not %s", text, v.kind.want)
	}
	return v, nil
}

// OnNewConnection sets the values in order. A value that its factory does not take, or whose key is
// read-only, is left out and counted: as in Envoy, the connection goes on without it.
func (f *setFilterState) OnNewConnection(c *Connection) Verdict {
	info := c.stream()
	for i := range f.values {
		v := &f.values[i]
		if v.json != nil {
			c.text = v.json.Append(c.text[:0], info)
		} else {
			c.text = v.text.Append(c.text[:0], info)
		}
		if v.skipEmpty && len(c.text) == 0 {
			continue
		}
		if !v.kind.takes(c.text) || !c.Extra().State.Set(v.key, c.text, v.readOnly) {
			c.Worker.Stats.Inc(f.stats.Refused)
		}
	}
	c.info.Conn = nil // the connection's facts do not outlive it here
	return Verdict{}
}
