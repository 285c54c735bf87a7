// Package rbac is role-based access control: named policies of permissions and principals, for connections
// (network RBAC) and requests (HTTP RBAC).
package rbac

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Rules is a compiled conf.RBAC. Immutable.
type Rules struct {
	Action   conf.RBACAction
	policies []Policy // by name
}

// Policy is one policy.
type Policy struct {
	Name                    []byte
	Details                 string // of what it refuses
	permissions, principals []rule
}

// Input is what is judged: a connection, and of HTTP its request, which else is nil.
type Input struct {
	Conn    *streaminfo.Connection
	Info    *streaminfo.Info
	Request *header.Head
	Scratch []byte // for headers that came several times
}

// Compile compiles rules; nil compiles to nil. Errors carry the path within c.
func Compile(c *conf.RBAC) (*Rules, error) {
	if c == nil {
		return nil, nil
	}
	s := &Rules{Action: c.Action}
	if c.Action > conf.RBACLog {
		return nil, fmt.Errorf("action: unknown action %d", c.Action)
	}
	for i := range c.Policies {
		from := &c.Policies[i]
		p := Policy{Name: []byte(from.Name), Details: deniedBy(from.Name)}
		at := fmt.Sprintf("policies[%q]", from.Name)
		var err error
		if p.permissions, err = compileRules(from.Permissions, at+".permissions"); err != nil {
			return nil, err
		}
		if p.principals, err = compileRules(from.Principals, at+".principals"); err != nil {
			return nil, err
		}
		s.policies = append(s.policies, p)
	}
	slices.SortStableFunc(s.policies, func(a, b Policy) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return s, nil
}

// deniedBy is %CONNECTION_TERMINATION_DETAILS% of a connection that a policy refuses.
func deniedBy(policy string) string {
	oneWord := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, policy)
	return "rbac_access_denied_matched_policy[" + oneWord + "]"
}

// Judge says whether the connection or request is admitted, and names the first policy that matches; nil when
// none does.
func (s *Rules) Judge(in *Input) (admitted bool, by *Policy) {
	for i := range s.policies {
		if p := &s.policies[i]; anyHolds(p.permissions, in) && anyHolds(p.principals, in) {
			return s.Action != conf.RBACDeny, p
		}
	}
	return s.Action != conf.RBACAllow, nil
}
