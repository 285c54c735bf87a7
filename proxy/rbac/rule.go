package rbac

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// rule is a compiled permission or principal of RBAC. Immutable.
type rule struct {
	kind     conf.RBACRuleKind
	rules    []rule
	prefix   netip.Prefix
	from, to uint32
	key      string
	name     match.Text
	header   match.Header
	invert   bool
	space    string
	values   []match.Text // any of; none: the value need only be there
	present  bool
	// requests: the rule speaks of requests.
	requests bool
}

// compileRules compiles a list that may not be empty; at names it in errors.
func compileRules(list []*conf.RBACRule, at string) ([]rule, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: needs at least one", at)
	}
	out := make([]rule, len(list))
	for i, c := range list {
		here := fmt.Sprintf("%s[%d]", at, i)
		if c == nil {
			return nil, fmt.Errorf("%s: nothing there", here)
		}
		if err := out[i].compile(c, here); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *rule) compile(c *conf.RBACRule, at string) (err error) {
	*r = rule{kind: c.Kind, from: c.PortFrom, to: c.PortTo, key: c.Key}
	switch c.Kind {
	case conf.RBACAny:
		return nil
	case conf.RBACAnd, conf.RBACOr, conf.RBACNot:
		if r.rules, err = compileRules(c.Rules, at+".rules"); err != nil {
			return err
		}
		if c.Kind == conf.RBACNot && len(r.rules) != 1 {
			err = errors.New("negates one rule")
		}
	case conf.RBACDestinationPort:
		if c.PortFrom >= c.PortTo || c.PortTo > 1<<16 {
			err = fmt.Errorf("no port is at or above %d and below %d", c.PortFrom, c.PortTo)
		}
	case conf.RBACDestinationIP, conf.RBACDirectRemoteIP, conf.RBACRemoteIP, conf.RBACSourceIP:
		r.prefix = c.Prefix.Masked()
		if !c.Prefix.IsValid() || c.Prefix.Addr().Is4In6() {
			err = fmt.Errorf("%s is no prefix of IPv4 or IPv6 addresses", c.Prefix)
		}
	case conf.RBACServerName, conf.RBACFilterState:
		if c.Kind == conf.RBACFilterState && c.Key == "" {
			return fmt.Errorf("%s: the key is missing", at)
		}
		r.name, err = match.CompileText(c.Name)
	case conf.RBACAuthenticated:
		err = r.compileAuthenticated(c)
	default:
		err = r.compileRequest(c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// holds says whether the connection is one the rule speaks of. No allocation but what a regular
// expression needs.
func (r *rule) holds(in *Input) bool {
	f := in.Conn
	switch r.kind {
	case conf.RBACAny:
		return true
	case conf.RBACAnd:
		for i := range r.rules {
			if !r.rules[i].holds(in) {
				return false
			}
		}
		return true
	case conf.RBACOr:
		return anyHolds(r.rules, in)
	case conf.RBACNot:
		return !r.rules[0].holds(in)
	case conf.RBACDestinationIP:
		return r.within(f.Local)
	case conf.RBACDestinationPort:
		port := uint32(f.Local.Port())
		return f.Local.IsValid() && r.from <= port && port < r.to
	case conf.RBACServerName:
		return r.name.Matches(f.ServerName())
	case conf.RBACDirectRemoteIP:
		return r.within(f.DirectRemote())
	case conf.RBACRemoteIP:
		if in.Info != nil { // as x-forwarded-for says
			return r.within(in.Info.RemoteAddress)
		}
		return r.within(f.Remote)
	case conf.RBACSourceIP:
		return r.within(f.Remote)
	case conf.RBACAuthenticated:
		return r.authenticated(in)
	case conf.RBACFilterState:
		v, ok := f.FilterState(r.key)
		return ok && r.name.Matches(v)
	}
	return in.Request != nil && r.holdsOf(in)
}

func anyHolds(rules []rule, in *Input) bool {
	for i := range rules {
		if rules[i].holds(in) {
			return true
		}
	}
	return false
}

// within says whether the address is of the prefix; the ends of unix sockets are of none.
func (r *rule) within(a netip.AddrPort) bool {
	return r.prefix.Contains(a.Addr().Unmap().WithZone(""))
}
