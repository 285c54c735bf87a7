package rbac

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// compileAuthenticated compiles the rule that speaks of the client's certificate.
func (r *rule) compileAuthenticated(c *conf.RBACRule) (err error) {
	if r.present = c.Present; !r.present {
		r.name, err = match.CompileText(c.Name)
	}
	return err
}

// authenticated says whether the client came by TLS and, if the rule has a name, showed a certificate with
// it: among its URI names, its DNS names, or as its subject, which is empty when it showed none. Whether
// that is proof of anything is the filter chain's to say: a certificate that does not verify is not let in,
// unless it asks for less.
func (r *rule) authenticated(in *Input) bool {
	p := in.Conn.Peer()
	switch {
	case p == nil:
		return false
	case r.present:
		return true
	case !p.Presented():
		return r.name.Matches(nil)
	}
	c := p.Remote()
	for _, names := range [...][]string{c.URIs, c.DNS} {
		for _, n := range names {
			if r.name.Matches([]byte(n)) {
				return true
			}
		}
	}
	return r.name.Matches([]byte(c.Subject))
}

// JudgesPeer says whether a policy asks for the client's certificate, which is known when the TLS handshake
// is done. nil rules do not.
func (s *Rules) JudgesPeer() bool {
	if s == nil {
		return false
	}
	for i := range s.policies {
		if p := &s.policies[i]; anyJudgesPeer(p.permissions) || anyJudgesPeer(p.principals) {
			return true
		}
	}
	return false
}

func anyJudgesPeer(rules []rule) bool {
	for i := range rules {
		if rules[i].kind == conf.RBACAuthenticated || anyJudgesPeer(rules[i].rules) {
			return true
		}
	}
	return false
}
