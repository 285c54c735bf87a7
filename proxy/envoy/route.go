//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// defaultDirectBodyBytes is max_direct_response_body_size_bytes when it is not set (RT-62).
const defaultDirectBodyBytes = 4096

func (c *compiler) routeConfiguration(m *routev3.RouteConfiguration, at place) *conf.RouteConfiguration {
	out := &conf.RouteConfiguration{
		Name: m.GetName(), Headers: c.mutations(m, at),
		Filters:                    c.filterConfigs(m.GetTypedPerFilterConfig(), at.field(perFilter)),
		InternalOnlyHeaders:        lowerAll(m.GetInternalOnlyHeaders()),
		MostSpecificMutationsWin:   m.GetMostSpecificHeaderMutationsWins(),
		IgnorePortInHostMatching:   m.GetIgnorePortInHostMatching(),
		IgnorePathParameters:       m.GetIgnorePathParametersInPathMatching(),
		MaxDirectResponseBodyBytes: int(number(m.GetMaxDirectResponseBodySizeBytes(), defaultDirectBodyBytes)),
		VirtualHostHeader:          strings.ToLower(m.GetVhostHeader()),
		ValidateClusters:           boolean(m.GetValidateClusters(), true),
		Raw:                        c.raw(m, at),
	}
	out.Mirrors = c.mirrors(m.GetRequestMirrorPolicies(), at.field("request_mirror_policies"), out)
	domains := map[string]place{}
	for i, host := range m.GetVirtualHosts() {
		out.VirtualHosts = append(out.VirtualHosts, c.virtualHost(host, at.field("virtual_hosts").index(i), out, domains))
	}
	return out
}

func (c *compiler) virtualHost(m *routev3.VirtualHost, at place, config *conf.RouteConfiguration, domains map[string]place) *conf.VirtualHost {
	out := &conf.VirtualHost{
		Name: m.GetName(), Headers: c.mutations(m, at),
		Filters:                       c.filterConfigs(m.GetTypedPerFilterConfig(), at.field(perFilter)),
		RequireTLS:                    conf.TLSRequirement(m.GetRequireTls()),
		IncludeRequestAttemptCount:    m.GetIncludeRequestAttemptCount(),
		IncludeAttemptCountInResponse: m.GetIncludeAttemptCountInResponse(),
	}
	c.hostPolicies(m, at, config, out)
	for i, domain := range m.GetDomains() {
		here := at.field("domains").index(i)
		domain = strings.ToLower(domain) // RT-23
		switch other, taken := domains[domain]; {
		case domain == "":
			c.errs.at(here, "must not be empty")
		case taken:
			c.errs.at(here, "%s is a domain already, at %d:%d", shorten(domain), other.pos.line, other.pos.col) // RT-24
		default:
			domains[domain] = here
		}
		out.Domains = append(out.Domains, domain)
	}
	for i, vc := range m.GetVirtualClusters() {
		out.VirtualClusters = append(out.VirtualClusters, c.virtualCluster(vc, at.field("virtual_clusters").index(i)))
	}
	if m.GetMatcher() != nil {
		if len(m.GetRoutes()) > 0 {
			c.errs.at(at.field("matcher"), "excludes routes: only one of them may be set") // RT-29
		}
		out.Matcher = c.matchTree(m.GetMatcher(), at.field("matcher"), config)
	}
	for i, route := range m.GetRoutes() {
		out.Routes = append(out.Routes, c.route(route, at.field("routes").index(i), config))
	}
	return out
}

func (c *compiler) route(m *routev3.Route, at place, config *conf.RouteConfiguration) *conf.Route {
	out := &conf.Route{
		Name: m.GetName(), StatPrefix: m.GetStatPrefix(), Headers: c.mutations(m, at),
		Filters: c.filterConfigs(m.GetTypedPerFilterConfig(), at.field(perFilter)),
	}
	out.Match = c.routeMatch(m.GetMatch(), at.field("match"))
	switch action := m.GetAction().(type) {
	case *routev3.Route_Route:
		out.Action = c.routeAction(action.Route, &out.Match, at.field("route"), config)
		c.actionPolicies(action.Route, at.field("route"), config, &out.RoutePolicies)
		bodyLimits(m.GetRequestBodyBufferLimit(), m.GetPerRequestBufferLimitBytes(), &out.RoutePolicies)
	case *routev3.Route_Redirect:
		out.Redirect = c.redirect(action.Redirect, at.field("redirect"))
	case *routev3.Route_DirectResponse:
		here := at.field("direct_response")
		out.Direct = &conf.DirectResponse{Status: uint16(action.DirectResponse.GetStatus())}
		if body := action.DirectResponse.GetBody(); body != nil {
			out.Direct.Body = c.dataSource(body, here.field("body"), config.MaxDirectResponseBodyBytes)
		}
		out.Direct.BodyFormat = c.format(action.DirectResponse.GetBodyFormat(), here.field("body_format"))
	}
	return out
}

func (c *compiler) routeAction(m *routev3.RouteAction, match *conf.RouteMatch, at place, config *conf.RouteConfiguration) *conf.RouteAction {
	out := conf.NewRouteAction(m.GetCluster())
	c.routeClusters(m, at, config, out)
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		out.NotFoundStatus = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		out.NotFoundStatus = 500
	}
	c.routeTimes(m, at, out)
	c.routeRewrites(m, match, at, out)
	out.Upgrades = c.routeUpgrades(m, at)
	out.HighPriority = m.GetPriority() == corev3.RoutingPriority_HIGH
	return out
}

// redirectStatus is RedirectAction.response_code.
var redirectStatus = map[routev3.RedirectAction_RedirectResponseCode]uint16{
	routev3.RedirectAction_MOVED_PERMANENTLY:  301,
	routev3.RedirectAction_FOUND:              302,
	routev3.RedirectAction_SEE_OTHER:          303,
	routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
	routev3.RedirectAction_PERMANENT_REDIRECT: 308,
}

var schemePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

func (c *compiler) redirect(m *routev3.RedirectAction, at place) *conf.RedirectAction {
	out := &conf.RedirectAction{
		HTTPS: m.GetHttpsRedirect(), Scheme: m.GetSchemeRedirect(), Host: m.GetHostRedirect(),
		Path: m.GetPathRedirect(), StripQuery: m.GetStripQuery(), StatusCode: redirectStatus[m.GetResponseCode()],
	}
	if out.Scheme != "" && !schemePattern.MatchString(out.Scheme) {
		c.errs.at(at.field("scheme_redirect"), "%s is not a URI scheme", shorten(out.Scheme))
	}
	if port := m.GetPortRedirect(); port > 65535 {
		c.errs.at(at.field("port_redirect"), "%d is not a port", port)
	} else {
		out.Port = uint16(port)
	}
	if prefix, ok := m.GetPathRewriteSpecifier().(*routev3.RedirectAction_PrefixRewrite); ok {
		out.PrefixRewrite, out.HasPrefix = prefix.PrefixRewrite, true
	}
	out.RegexRewrite = c.regexRewrite(m.GetRegexRewrite(), at.field("regex_rewrite"))
	out.PathRewrite = m.GetPathRewrite()
	c.formatString(out.PathRewrite, at.field("path_rewrite"))
	return out
}

func lowerAll(names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, strings.ToLower(name))
	}
	return out
}
