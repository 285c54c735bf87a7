package envoy

import (
	"maps"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// matchTree compiles a matcher whose actions are routes (RT-29).
func (c *compiler) matchTree(m *xdsmatcherv3.Matcher, at place, config *conf.RouteConfiguration) *conf.MatchTree {
	out := &conf.MatchTree{}
	list := at.field("matcher_list").field("matchers")
	for i, one := range m.GetMatcherList().GetMatchers() {
		here := list.index(i)
		out.List = append(out.List, conf.MatchCase{
			If: c.matchPredicate(one.GetPredicate(), here.field("predicate")), Outcome: c.matchOutcome(one.GetOnMatch(), here.field("on_match"), config),
		})
	}
	if tree := m.GetMatcherTree(); tree != nil {
		out.Map = c.matchMap(tree, at.field("matcher_tree"), config)
	}
	if m.GetOnNoMatch() != nil {
		otherwise := c.matchOutcome(m.GetOnNoMatch(), at.field("on_no_match"), config)
		out.Otherwise = &otherwise
	}
	return out
}

func (c *compiler) matchMap(m *xdsmatcherv3.Matcher_MatcherTree, at place, config *conf.RouteConfiguration) *conf.MatchMap {
	out := &conf.MatchMap{Input: c.matchInput(m.GetInput(), at.field("input")), Outcomes: map[string]conf.MatchOutcome{}}
	entries, here := m.GetExactMatchMap().GetMap(), at.field("exact_match_map").field("map")
	if m.GetPrefixMatchMap() != nil {
		out.Prefixes, entries, here = true, m.GetPrefixMatchMap().GetMap(), at.field("prefix_match_map").field("map")
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		out.Outcomes[key] = c.matchOutcome(entries[key], here.key(key), config)
	}
	return out
}

func (c *compiler) matchOutcome(m *xdsmatcherv3.Matcher_OnMatch, at place, config *conf.RouteConfiguration) conf.MatchOutcome {
	out := conf.MatchOutcome{KeepMatching: m.GetKeepMatching()}
	if m.GetMatcher() != nil {
		out.Tree = c.matchTree(m.GetMatcher(), at.field("matcher"), config)
		return out
	}
	action, here := m.GetAction(), at.field("action")
	if action.GetTypedConfig() == nil {
		c.errs.at(here.field("typed_config"), "is required")
		return out
	}
	inner := here.field("typed_config")
	switch routes := c.unpack(action.GetTypedConfig(), here).(type) {
	case *routev3.Route:
		out.Routes = []*conf.Route{c.route(routes, inner, config)}
	case *routev3.RouteList:
		for i, r := range routes.GetRoutes() {
			out.Routes = append(out.Routes, c.route(r, inner.field("routes").index(i), config))
		}
	default:
		c.errs.at(inner, "is not a route; supported here: %s", alternatives(payloadsOf(treeActions)))
	}
	return out
}

func (c *compiler) matchPredicate(m *xdsmatcherv3.Matcher_MatcherList_Predicate, at place) conf.MatchPredicate {
	several := func(kind conf.PredicateKind, list []*xdsmatcherv3.Matcher_MatcherList_Predicate, at place) conf.MatchPredicate {
		out := conf.MatchPredicate{Kind: kind}
		for i, p := range list {
			out.Of = append(out.Of, c.matchPredicate(p, at.field("predicate").index(i)))
		}
		return out
	}
	switch p := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		return several(conf.PredicateAnd, p.AndMatcher.GetPredicate(), at.field("and_matcher"))
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		return several(conf.PredicateOr, p.OrMatcher.GetPredicate(), at.field("or_matcher"))
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		return conf.MatchPredicate{Kind: conf.PredicateNot, Of: []conf.MatchPredicate{c.matchPredicate(p.NotMatcher, at.field("not_matcher"))}}
	}
	single, here := m.GetSinglePredicate(), at.field("single_predicate")
	if single.GetCustomMatch() != nil {
		c.errs.at(here.field("custom_match"), "not supported for routes: use value_match")
	}
	return conf.MatchPredicate{
		Input: c.matchInput(single.GetInput(), here.field("input")),
		Value: c.xdsStringMatcher(single.GetValueMatch(), here.field("value_match")),
	}
}

// matchInput compiles what a predicate or map looks at.
func (c *compiler) matchInput(m *xdscorev3.TypedExtensionConfig, at place) conf.MatchInput {
	if m.GetTypedConfig() == nil {
		c.errs.at(at.field("typed_config"), "is required")
		return conf.MatchInput{}
	}
	config := at.field("typed_config")
	switch in := c.unpack(m.GetTypedConfig(), at).(type) {
	case *matcherv3.HttpRequestHeaderMatchInput:
		return conf.MatchInput{Kind: conf.InputHeader, Name: c.headerField(in.GetHeaderName(), config.field("header_name"))}
	case *matcherv3.HttpRequestQueryParamMatchInput:
		return conf.MatchInput{Kind: conf.InputQueryParameter, Name: in.GetQueryParam()}
	case *networkv3.SourceIPInput:
		return conf.MatchInput{Kind: conf.InputSourceIP}
	case *networkv3.DirectSourceIPInput:
		return conf.MatchInput{Kind: conf.InputDirectSourceIP}
	case *networkv3.DestinationIPInput:
		return conf.MatchInput{Kind: conf.InputDestinationIP}
	case *networkv3.SourcePortInput:
		return conf.MatchInput{Kind: conf.InputSourcePort}
	case *networkv3.DestinationPortInput:
		return conf.MatchInput{Kind: conf.InputDestinationPort}
	case *networkv3.ServerNameInput:
		return conf.MatchInput{Kind: conf.InputServerName}
	}
	c.errs.at(config, "is not an input; supported here: %s", alternatives(payloadsOf(treeInputs)))
	return conf.MatchInput{}
}

// scopedRoutes compiles scopes that stand in the file (RT-11 to RT-17).
func (c *compiler) scopedRoutes(m *hcmv3.ScopedRoutes, at place) *conf.ScopedRoutes {
	out := &conf.ScopedRoutes{Name: m.GetName()}
	fragments := at.field("scope_key_builder").field("fragments")
	for i, f := range m.GetScopeKeyBuilder().GetFragments() {
		out.Key = append(out.Key, c.scopeFragment(f.GetHeaderValueExtractor(), fragments.index(i).field("header_value_extractor")))
	}
	list := at.field("scoped_route_configurations_list").field("scoped_route_configurations")
	keys, names := map[string]place{}, map[string]bool{}
	for i, s := range m.GetScopedRouteConfigurationsList().GetScopedRouteConfigurations() {
		here := list.index(i)
		scope := conf.Scope{Name: s.GetName()}
		for _, f := range s.GetKey().GetFragments() {
			scope.Key = append(scope.Key, f.GetStringKey())
		}
		text := strings.Join(scope.Key, "\x00")
		if other, taken := keys[text]; taken {
			c.errs.at(here.field("key"), "is the key of another scope, at %d:%d", other.pos.line, other.pos.col) // RT-17
		}
		keys[text] = here.field("key")
		if names[scope.Name] {
			c.errs.at(here.field("name"), "another scope is called %s", shorten(scope.Name))
		}
		names[scope.Name] = true
		if len(scope.Key) != len(out.Key) {
			c.warn(here.field("key"), "never matches: it has %d fragments, and the keys of requests have %d", len(scope.Key), len(out.Key)) // RT-14
		}
		if s.GetRouteConfiguration() == nil {
			c.errs.at(here, "route_configuration is required")
			continue
		}
		scope.Routes = c.routeConfiguration(s.GetRouteConfiguration(), here.field("route_configuration"))
		out.Scopes = append(out.Scopes, scope)
	}
	return out
}

func (c *compiler) scopeFragment(m *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor, at place) conf.ScopeFragment {
	out := conf.ScopeFragment{
		Header: c.headerField(m.GetName(), at.field("name")), ElementSeparator: m.GetElementSeparator(), Index: m.GetIndex(),
	}
	if e := m.GetElement(); e != nil {
		out.ByKey, out.Key, out.KeySeparator = true, e.GetKey(), e.GetSeparator()
	}
	if out.Index != 0 && out.ElementSeparator == "" {
		c.errs.at(at.field("index"), "must be 0: without an element_separator there is one element") // RT-12
	}
	return out
}
