package format

import (
	"errors"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// CompileGeneric is CompileText for a generic proxy, which has operators of its own (GP-30).
func CompileGeneric(text string, omitEmpty bool) (*Formatter, error) {
	ops, err := parse(text, true)
	if err != nil {
		return nil, err
	}
	return newFormatter(ops, omitEmpty), nil
}

// CompileGenericJSON is CompileJSON for a generic proxy.
func CompileGenericJSON(o *conf.JSONObject, omitEmpty bool) (*JSONFormatter, error) {
	root, err := compileNode(o, "", true)
	if err != nil {
		return nil, err
	}
	return &JSONFormatter{root, omitEmpty}, nil
}

// genericOperators are those of generic proxies alone. PROTOCOL is another operator there.
var genericOperators = map[string]op{
	"PROTOCOL": genericText(func(g *streaminfo.Generic) string { return g.Protocol }),
	"HOST":     genericText(func(g *streaminfo.Generic) []byte { return g.Host }),
	"PATH":     genericText(func(g *streaminfo.Generic) []byte { return g.Path }),
	"METHOD":   genericText(func(g *streaminfo.Generic) []byte { return g.Method }),
}

func genericText[T string | []byte](field func(*streaminfo.Generic) T) op {
	return op{eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		if i.Generic == nil {
			return dst, false
		}
		return appendText(dst, field(i.Generic))
	}}
}

// compileGeneric compiles what only generic proxies have; not found: it is none of that.
func compileGeneric(c command) (o op, found bool, err error) {
	if o, ok := genericOperators[c.name]; ok {
		return o, true, c.plain(false)
	}
	switch c.name {
	case "REQUEST_PROPERTY":
		o = op{limit: c.limit, request: true, key: c.argument, eval: appendRequestProperty}
	case "RESPONSE_PROPERTY":
		o = op{limit: c.limit, response: true, key: c.argument, eval: appendResponseProperty}
	case "REQ", "RESP", "TRAILER":
		return o, true, errors.New("not supported: a generic proxy has no HTTP headers; use REQUEST_PROPERTY and RESPONSE_PROPERTY")
	default:
		return o, false, nil
	}
	if strings.TrimSpace(c.argument) == "" {
		return o, true, errors.New("the name of a property is missing")
	}
	return o, true, nil
}

func appendRequestProperty(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendProperty(dst, i, false)
}

func appendResponseProperty(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendProperty(dst, i, true)
}

func (o *op) appendProperty(dst []byte, i *streaminfo.Info, response bool) ([]byte, bool) {
	if i.Generic == nil {
		return dst, false
	}
	v, ok := i.Generic.Property(response, o.key)
	return append(dst, v[:cut(len(v), o.limit)]...), ok
}
