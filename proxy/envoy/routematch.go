package envoy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// routeMatch compiles a RouteMatch; its path specifier is required by the constraints (RT-41).
func (c *compiler) routeMatch(m *routev3.RouteMatch, at place) conf.RouteMatch {
	out := conf.RouteMatch{CaseInsensitive: !boolean(m.GetCaseSensitive(), true), GRPC: m.GetGrpc() != nil}
	switch path := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Path = conf.PathPrefix, path.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Path = conf.PathExact, path.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Path = conf.PathSeparatedPrefix, path.PathSeparatedPrefix
	case *routev3.RouteMatch_SafeRegex:
		out.Kind, out.Path = conf.PathRegex, c.regex(path.SafeRegex, at.field("safe_regex"))
	case *routev3.RouteMatch_ConnectMatcher_:
		out.Kind = conf.PathConnect
	case *routev3.RouteMatch_PathMatchPolicy:
		out.Kind, out.Path = conf.PathTemplate, c.pathTemplate(path.PathMatchPolicy, at.field("path_match_policy"))
	}
	if f := m.GetRuntimeFraction(); f != nil {
		out.RuntimeFraction = c.runtimeFraction(f, at.field("runtime_fraction"))
	}
	for i, header := range m.GetHeaders() {
		out.Headers = append(out.Headers, c.headerMatcher(header, at.field("headers").index(i)))
	}
	for i, query := range m.GetQueryParameters() {
		out.QueryParameters = append(out.QueryParameters, c.queryMatcher(query, at.field("query_parameters").index(i)))
	}
	for i, cookie := range m.GetCookies() {
		here := at.field("cookies").index(i)
		out.Cookies = append(out.Cookies, &conf.CookieMatcher{
			Name: cookie.GetName(), Invert: cookie.GetInvertMatch(), Value: c.textMatcher(cookie.GetStringMatch(), here.field("string_match")),
		})
	}
	if tls := m.GetTlsContext(); tls != nil {
		out.TLS = &conf.TLSMatch{}
		if p := tls.GetPresented(); p != nil {
			v := p.GetValue()
			out.TLS.Presented = &v
		}
		if p := tls.GetValidated(); p != nil {
			v := p.GetValue()
			out.TLS.Validated = &v
		}
	}
	for i, metadata := range m.GetDynamicMetadata() {
		out.DynamicMetadata = append(out.DynamicMetadata, c.metadataMatcher(metadata, at.field("dynamic_metadata").index(i)))
	}
	for i, state := range m.GetFilterState() {
		here := at.field("filter_state").index(i)
		out.FilterState = append(out.FilterState, &conf.FilterStateMatcher{
			Key: state.GetKey(), Value: c.textMatcher(state.GetStringMatch(), here.field("string_match")),
		})
	}
	return out
}

// textMatcher is stringMatcher in the form of conf.
func (c *compiler) textMatcher(m *matcherv3.StringMatcher, at place) conf.StringMatcher {
	s := c.stringMatcher(m, at)
	return conf.StringMatcher{Kind: s.kind, Value: s.value, IgnoreCase: s.ignoreCase}
}

// pathTemplate compiles a path_match_policy, whose only kind is a URI template.
func (c *compiler) pathTemplate(m *corev3.TypedExtensionConfig, at place) string {
	t, ok := c.coreExtension(m, at).(*uritemplatev3.UriTemplateMatchConfig)
	if !ok {
		c.errs.at(at.field("typed_config"), "is not a path matcher; supported here: %s", uriTemplateMatch)
		return ""
	}
	if _, err := conf.ParseURITemplate(t.GetPathTemplate()); err != nil {
		c.errs.at(at.field("typed_config").field("path_template"), "%v", err)
	}
	return t.GetPathTemplate()
}

// runtimeFraction compiles a RuntimeFractionalPercent.
func (c *compiler) runtimeFraction(m *corev3.RuntimeFractionalPercent, at place) *conf.RuntimeFraction {
	return &conf.RuntimeFraction{Default: fraction(m.GetDefaultValue()), Key: m.GetRuntimeKey()}
}

// metadataMatcher compiles a matcher of one value that is text, since dynamic metadata is no other here.
func (c *compiler) metadataMatcher(m *matcherv3.MetadataMatcher, at place) *conf.MetadataMatcher {
	out := &conf.MetadataMatcher{Namespace: m.GetFilter(), Invert: m.GetInvert()}
	for _, segment := range m.GetPath() {
		out.Key = segment.GetKey()
	}
	if len(m.GetPath()) > 1 {
		c.errs.at(at.field("path").index(1), "not supported: dynamic metadata has one level of keys")
	}
	c.metadataValue(m.GetValue(), at.field("value"), out)
	return out
}

func (c *compiler) metadataValue(m *matcherv3.ValueMatcher, at place, out *conf.MetadataMatcher) {
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_StringMatch:
		out.Values = append(out.Values, c.textMatcher(v.StringMatch, at.field("string_match")))
	case *matcherv3.ValueMatcher_PresentMatch:
		if !v.PresentMatch {
			out.Invert = !out.Invert
		}
	case *matcherv3.ValueMatcher_OrMatch:
		for i, one := range v.OrMatch.GetValueMatchers() {
			here := at.field("or_match").field("value_matchers").index(i)
			if _, ok := one.GetMatchPattern().(*matcherv3.ValueMatcher_StringMatch); !ok {
				c.errs.at(here, "not supported: only string_match can be one of several")
				continue
			}
			c.metadataValue(one, here, out)
		}
	}
}

// virtualCluster compiles one (RT-68).
func (c *compiler) virtualCluster(m *routev3.VirtualCluster, at place) *conf.VirtualCluster {
	out := &conf.VirtualCluster{Name: m.GetName()}
	for i, header := range m.GetHeaders() {
		out.Headers = append(out.Headers, c.headerMatcher(header, at.field("headers").index(i)))
	}
	if len(out.Headers) == 0 {
		c.errs.at(at.field("headers"), "needs at least one entry")
	}
	return out
}

// regexRewrite compiles a RegexMatchAndSubstitute; nil for none (RT-87).
func (c *compiler) regexRewrite(m *matcherv3.RegexMatchAndSubstitute, at place) *conf.RegexRewrite {
	if m == nil {
		return nil
	}
	out := &conf.RegexRewrite{Pattern: c.regex(m.GetPattern(), at.field("pattern")), Substitution: m.GetSubstitution()}
	if _, err := out.Replacement(groupsOf(out.Pattern)); err != nil {
		c.errs.at(at.field("substitution"), "%v", err)
	}
	return out
}

// headerField is the lower-case name of a header that a value is taken from.
func (c *compiler) headerField(name string, at place) string {
	name = strings.ToLower(name)
	if name == "host" {
		c.errs.at(at, "host is called :authority here")
	}
	return name
}
