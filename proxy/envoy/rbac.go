//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"maps"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	configv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func (c *compiler) networkRBAC(m *rbacv3.RBAC, at place) *conf.NetworkRBAC {
	out := &conf.NetworkRBAC{
		StatPrefix: m.GetStatPrefix(), ShadowRulesStatPrefix: m.GetShadowRulesStatPrefix(),
		Rules:                 c.rbac(m.GetRules(), at.field("rules"), false),
		ShadowRules:           c.rbac(m.GetShadowRules(), at.field("shadow_rules"), false),
		DelayDeny:             c.duration(m.GetDelayDeny(), at.field("delay_deny"), 0),
		ContinuousEnforcement: m.GetEnforcementType() == rbacv3.RBAC_CONTINUOUS,
	}
	if out.Rules == nil && out.ShadowRules == nil {
		c.warn(at, "admits every connection: it has no rules") // empty rules would admit none
	}
	return out
}

// rbac compiles rules, of requests or of connections; nil for none.
func (c *compiler) rbac(m *configv3.RBAC, at place, requests bool) *conf.RBAC {
	if m == nil {
		return nil
	}
	out := &conf.RBAC{Action: conf.RBACAction(m.GetAction())}
	c.rbacRequests = requests
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		policy, here := m.GetPolicies()[name], at.field("policies").key(name)
		compiled := conf.RBACPolicy{Name: name}
		for i, p := range policy.GetPermissions() {
			compiled.Permissions = append(compiled.Permissions, c.permission(p, here.field("permissions").index(i)))
		}
		for i, p := range policy.GetPrincipals() {
			compiled.Principals = append(compiled.Principals, c.principal(p, here.field("principals").index(i)))
		}
		out.Policies = append(out.Policies, compiled)
	}
	return out
}

func (c *compiler) permission(m *configv3.Permission, at place) *conf.RBACRule {
	set := func(kind conf.RBACRuleKind, list []*configv3.Permission, at place) *conf.RBACRule {
		out := &conf.RBACRule{Kind: kind}
		for i, p := range list {
			out.Rules = append(out.Rules, c.permission(p, at.field("rules").index(i)))
		}
		return out
	}
	switch p := m.GetRule().(type) {
	case *configv3.Permission_AndRules:
		return set(conf.RBACAnd, p.AndRules.GetRules(), at.field("and_rules"))
	case *configv3.Permission_OrRules:
		return set(conf.RBACOr, p.OrRules.GetRules(), at.field("or_rules"))
	case *configv3.Permission_NotRule:
		return &conf.RBACRule{Kind: conf.RBACNot, Rules: []*conf.RBACRule{c.permission(p.NotRule, at.field("not_rule"))}}
	case *configv3.Permission_DestinationIp:
		return &conf.RBACRule{Kind: conf.RBACDestinationIP, Prefix: c.rbacPrefix(p.DestinationIp, at.field("destination_ip"))}
	case *configv3.Permission_DestinationPort:
		return &conf.RBACRule{Kind: conf.RBACDestinationPort, PortFrom: p.DestinationPort, PortTo: p.DestinationPort + 1}
	case *configv3.Permission_DestinationPortRange:
		from, to := p.DestinationPortRange.GetStart(), p.DestinationPortRange.GetEnd()
		if from < 0 || to > 1<<16 || from >= to {
			c.errs.at(at.field("destination_port_range"), "%d to %d is not a range of ports: start is the first, end the one after the last", from, to)
		}
		return &conf.RBACRule{Kind: conf.RBACDestinationPort, PortFrom: uint32(from), PortTo: uint32(to)}
	case *configv3.Permission_Header:
		return c.rbacHeader(p.Header, at.field("header"))
	case *configv3.Permission_UrlPath:
		return c.rbacPath(p.UrlPath, at.field("url_path"))
	case *configv3.Permission_Metadata:
		return c.rbacMetadata(p.Metadata, at.field("metadata"))
	case *configv3.Permission_RequestedServerName:
		here := at.field("requested_server_name")
		return &conf.RBACRule{Kind: conf.RBACServerName, Name: c.rbacName(p.RequestedServerName, here)}
	}
	return &conf.RBACRule{Kind: conf.RBACAny} // any; a permission without a rule does not pass the constraints
}

func (c *compiler) principal(m *configv3.Principal, at place) *conf.RBACRule {
	set := func(kind conf.RBACRuleKind, list []*configv3.Principal, at place) *conf.RBACRule {
		out := &conf.RBACRule{Kind: kind}
		for i, p := range list {
			out.Rules = append(out.Rules, c.principal(p, at.field("ids").index(i)))
		}
		return out
	}
	switch p := m.GetIdentifier().(type) {
	case *configv3.Principal_AndIds:
		return set(conf.RBACAnd, p.AndIds.GetIds(), at.field("and_ids"))
	case *configv3.Principal_OrIds:
		return set(conf.RBACOr, p.OrIds.GetIds(), at.field("or_ids"))
	case *configv3.Principal_NotId:
		return &conf.RBACRule{Kind: conf.RBACNot, Rules: []*conf.RBACRule{c.principal(p.NotId, at.field("not_id"))}}
	case *configv3.Principal_SourceIp:
		return &conf.RBACRule{Kind: conf.RBACSourceIP, Prefix: c.rbacPrefix(p.SourceIp, at.field("source_ip"))}
	case *configv3.Principal_Header:
		return c.rbacHeader(p.Header, at.field("header"))
	case *configv3.Principal_UrlPath:
		return c.rbacPath(p.UrlPath, at.field("url_path"))
	case *configv3.Principal_Metadata:
		return c.rbacMetadata(p.Metadata, at.field("metadata"))
	case *configv3.Principal_Authenticated_:
		here := at.field("authenticated")
		if p.Authenticated.GetPrincipalName() == nil {
			return &conf.RBACRule{Kind: conf.RBACAuthenticated, Present: true}
		}
		return &conf.RBACRule{Kind: conf.RBACAuthenticated, Name: c.rbacName(p.Authenticated.GetPrincipalName(), here.field("principal_name"))}
	case *configv3.Principal_RemoteIp:
		return &conf.RBACRule{Kind: conf.RBACRemoteIP, Prefix: c.rbacPrefix(p.RemoteIp, at.field("remote_ip"))}
	case *configv3.Principal_DirectRemoteIp:
		return &conf.RBACRule{Kind: conf.RBACDirectRemoteIP, Prefix: c.rbacPrefix(p.DirectRemoteIp, at.field("direct_remote_ip"))}
	case *configv3.Principal_FilterState:
		here := at.field("filter_state").field("string_match")
		return &conf.RBACRule{Kind: conf.RBACFilterState, Key: p.FilterState.GetKey(), Name: c.rbacName(p.FilterState.GetStringMatch(), here)}
	}
	return &conf.RBACRule{Kind: conf.RBACAny}
}

func (c *compiler) rbacPrefix(m *corev3.CidrRange, at place) netip.Prefix {
	p, _ := c.matchPrefix(m, at)
	return p
}

func (c *compiler) rbacName(m *matcherv3.StringMatcher, at place) conf.StringMatcher {
	s := c.stringMatcher(m, at)
	return conf.StringMatcher{Kind: s.kind, Value: s.value, IgnoreCase: s.ignoreCase}
}

// needRequest refuses what a connection cannot be judged by.
func (c *compiler) needRequest(at place, why string) {
	if !c.rbacRequests {
		c.errs.at(at, "not supported: %s", why)
	}
}

func (c *compiler) rbacHeader(m *routev3.HeaderMatcher, at place) *conf.RBACRule {
	c.needRequest(at, noRequest)
	return &conf.RBACRule{Kind: conf.RBACHeader, Header: c.headerMatcher(m, at)}
}

func (c *compiler) rbacPath(m *matcherv3.PathMatcher, at place) *conf.RBACRule {
	c.needRequest(at, noRequest)
	return &conf.RBACRule{Kind: conf.RBACURLPath, Name: c.rbacName(m.GetPath(), at.field("path"))}
}

func (c *compiler) rbacMetadata(m *matcherv3.MetadataMatcher, at place) *conf.RBACRule {
	c.needRequest(at, noRBACMeta)
	return &conf.RBACRule{Kind: conf.RBACMetadata, Metadata: c.metadataMatcher(m, at)}
}
