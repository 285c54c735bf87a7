package rbac

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// compileRequest compiles the rules that speak of requests.
func (r *rule) compileRequest(c *conf.RBACRule) (err error) {
	r.requests = true
	switch c.Kind {
	case conf.RBACHeader:
		if c.Header == nil {
			return fmt.Errorf("the header is missing")
		}
		r.header, err = match.CompileHeader(c.Header)
	case conf.RBACURLPath:
		r.name, err = match.CompileText(c.Name)
	case conf.RBACMetadata:
		m := c.Metadata
		if m == nil || m.Key == "" || m.Namespace == "" {
			return fmt.Errorf("the filter or the key is missing")
		}
		r.space, r.key, r.invert = m.Namespace, m.Key, m.Invert
		for i := range m.Values {
			v, err := match.CompileText(m.Values[i])
			if err != nil {
				return err
			}
			r.values = append(r.values, v)
		}
	default:
		err = fmt.Errorf("unknown kind %d", c.Kind)
	}
	return err
}

// holdsOf is holds for the rules that speak of requests.
func (r *rule) holdsOf(in *Input) bool {
	switch r.kind {
	case conf.RBACHeader:
		return r.header.Holds(in.Request, &in.Scratch)
	case conf.RBACURLPath:
		path := in.Request.Bytes(in.Request.Path)
		if i := bytes.IndexAny(path, "?#"); i >= 0 {
			path = path[:i]
		}
		return r.name.Matches(path)
	case conf.RBACMetadata:
		v, ok := in.Info.DynamicMetadata(r.space, r.key)
		if ok && len(r.values) > 0 {
			ok = slices.ContainsFunc(r.values, func(m match.Text) bool { return m.Matches(v) })
		}
		return ok != r.invert
	}
	return false
}
