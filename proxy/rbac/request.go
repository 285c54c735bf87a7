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
	case conf.RBACAuthenticated:
		if c.Present { // any certificate
			r.present = true
			return nil
		}
		r.name, err = match.CompileText(c.Name)
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
	case conf.RBACAuthenticated:
		return r.authenticated(in)
	}
	return false
}

// authenticated says whether the client showed a certificate with that name: its URI or DNS names where it
// has any, else its subject. A verified one: the handshake is not done else, unless the filter chain asks
// for less.
func (r *rule) authenticated(in *Input) bool {
	p := in.Conn.Peer()
	if p == nil {
		return false
	}
	if r.present {
		return true
	}
	if !p.Presented() {
		return r.name.Matches(nil)
	}
	c := p.Remote()
	for _, names := range [][]string{c.URIs, c.DNS} {
		for _, n := range names {
			if r.name.Matches([]byte(n)) {
				return true
			}
		}
		if len(names) > 0 {
			return false
		}
	}
	return r.name.Matches([]byte(c.Subject))
}
