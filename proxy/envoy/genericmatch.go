package envoy

import (
	"maps"
	"slices"

	actionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/action/v3"
	matchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/matcher/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maxMatcherDepth bounds how deep matchers and predicates nest.
const maxMatcherDepth = 32

// genericMatcher compiles an xDS matcher (GP-2).
func (c *compiler) genericMatcher(m *xdsv3.Matcher, at place, proxy *conf.GenericProxy, depth int) *conf.GenericMatcher {
	out := &conf.GenericMatcher{}
	if depth > maxMatcherDepth {
		c.errs.at(at, "nests deeper than %d", maxMatcherDepth)
		return out
	}
	switch t := m.GetMatcherType().(type) {
	case *xdsv3.Matcher_MatcherList_:
		list := at.field("matcher_list").field("matchers")
		for i, e := range t.MatcherList.GetMatchers() {
			here := list.index(i)
			entry := conf.GenericFieldMatcher{Predicate: c.genericPredicate(e.GetPredicate(), here.field("predicate"), depth)}
			if on := c.genericOnMatch(e.GetOnMatch(), here.field("on_match"), proxy, depth); on != nil {
				entry.OnMatch = *on
			}
			out.List = append(out.List, entry)
		}
	case *xdsv3.Matcher_MatcherTree_:
		out.Tree = c.genericTree(t.MatcherTree, at.field("matcher_tree"), proxy, depth)
	}
	if m.GetOnNoMatch() != nil {
		out.OnNoMatch = c.genericOnMatch(m.GetOnNoMatch(), at.field("on_no_match"), proxy, depth)
	}
	if m.GetMatcherType() == nil && m.GetOnNoMatch() == nil {
		c.errs.at(at, "one of matcher_list, matcher_tree or on_no_match is required")
	}
	return out
}

func (c *compiler) genericTree(m *xdsv3.Matcher_MatcherTree, at place, proxy *conf.GenericProxy, depth int) *conf.GenericTree {
	out := &conf.GenericTree{Map: map[string]*conf.GenericOnMatch{}}
	here := at.field("input")
	if in, request := c.genericInput(m.GetInput(), here); request {
		c.errs.at(here, "a tree looks up one value, not a request")
	} else {
		out.Input = in
	}
	field, entries := "exact_match_map", m.GetExactMatchMap().GetMap()
	if prefixes := m.GetPrefixMatchMap(); prefixes != nil {
		out.Prefix = true
		field, entries = "prefix_match_map", prefixes.GetMap()
	}
	if len(entries) == 0 {
		c.errs.at(at.field(field), "needs at least one entry")
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		out.Map[key] = c.genericOnMatch(entries[key], at.field(field).field("map").key(key), proxy, depth)
	}
	return out
}

func (c *compiler) genericOnMatch(m *xdsv3.Matcher_OnMatch, at place, proxy *conf.GenericProxy, depth int) *conf.GenericOnMatch {
	if m.GetKeepMatching() {
		c.errs.at(at.field("keep_matching"), "not supported: an action ends the search")
	}
	switch t := m.GetOnMatch().(type) {
	case *xdsv3.Matcher_OnMatch_Matcher:
		return &conf.GenericOnMatch{Matcher: c.genericMatcher(t.Matcher, at.field("matcher"), proxy, depth+1)}
	case *xdsv3.Matcher_OnMatch_Action:
		here := at.field("action")
		action, ok := c.extension(t.Action, here).(*actionv3.RouteAction)
		if !ok {
			c.errs.at(here, "is not an action; supported here: %s", genericAction)
			return nil
		}
		return &conf.GenericOnMatch{Action: c.genericAction(action, here.field("typed_config"), proxy)}
	}
	c.errs.at(at, "one of matcher or action is required")
	return nil
}

// extension unpacks an extension of a matcher; nil when it has no configuration.
func (c *compiler) extension(m *xdscorev3.TypedExtensionConfig, at place) proto.Message {
	var packed *anypb.Any
	if packed = m.GetTypedConfig(); packed == nil {
		return nil
	}
	return c.unpack(packed, at.field("typed_config"))
}

func (c *compiler) genericInput(m *xdscorev3.TypedExtensionConfig, at place) (in conf.GenericInput, request bool) {
	switch t := c.extension(m, at).(type) {
	case *matchv3.HostMatchInput, *matchv3.ServiceMatchInput:
		in.Kind = conf.GenericHost
	case *matchv3.PathMatchInput:
		in.Kind = conf.GenericPath
	case *matchv3.MethodMatchInput:
		in.Kind = conf.GenericMethod
	case *matchv3.PropertyMatchInput:
		in = conf.GenericInput{Kind: conf.GenericProperty, Property: t.GetPropertyName()}
	case *matchv3.RequestMatchInput:
		request = true
	default:
		c.errs.at(at, "is not an input; supported here: %s", alternatives(payloadsOf(genericInputs)))
	}
	return in, request
}

func (c *compiler) genericPredicate(m *xdsv3.Matcher_MatcherList_Predicate, at place, depth int) *conf.GenericPredicate {
	out := &conf.GenericPredicate{}
	if depth > maxMatcherDepth {
		c.errs.at(at, "nests deeper than %d", maxMatcherDepth)
		return out
	}
	all := func(list *xdsv3.Matcher_MatcherList_Predicate_PredicateList, at place) {
		for i, p := range list.GetPredicate() {
			out.Of = append(out.Of, c.genericPredicate(p, at.field("predicate").index(i), depth+1))
		}
	}
	switch t := m.GetMatchType().(type) {
	case *xdsv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		c.singlePredicate(t.SinglePredicate, at.field("single_predicate"), out)
	case *xdsv3.Matcher_MatcherList_Predicate_OrMatcher:
		out.Kind = conf.GenericOr
		all(t.OrMatcher, at.field("or_matcher"))
	case *xdsv3.Matcher_MatcherList_Predicate_AndMatcher:
		out.Kind = conf.GenericAnd
		all(t.AndMatcher, at.field("and_matcher"))
	case *xdsv3.Matcher_MatcherList_Predicate_NotMatcher:
		out.Kind = conf.GenericNot
		out.Of = []*conf.GenericPredicate{c.genericPredicate(t.NotMatcher, at.field("not_matcher"), depth+1)}
	}
	return out
}

func (c *compiler) singlePredicate(m *xdsv3.Matcher_MatcherList_Predicate_SinglePredicate, at place, out *conf.GenericPredicate) {
	in, request := c.genericInput(m.GetInput(), at.field("input"))
	switch t := m.GetMatcher().(type) {
	case *xdsv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch:
		if request {
			c.errs.at(at.field("value_match"), "compares one value, not a request: use custom_match")
			return
		}
		out.Kind, out.Input = conf.GenericValue, in
		out.Value = c.xdsStringMatcher(t.ValueMatch, at.field("value_match"))
	case *xdsv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch:
		here := at.field("custom_match")
		rm, ok := c.extension(t.CustomMatch, here).(*matchv3.RequestMatcher)
		switch {
		case !ok:
			c.errs.at(here, "is not a matcher; supported here: %s", genericRequestMatcher)
		case !request:
			c.errs.at(here, "looks at a request: the input has to be %s", genericRequestInput)
		default:
			out.Kind = conf.GenericRequest
			out.Request = c.genericRequest(rm, here.field("typed_config"))
		}
	}
}

func (c *compiler) genericRequest(m *matchv3.RequestMatcher, at place) *conf.GenericRequestMatcher {
	text := func(m *matcherv3.StringMatcher, at place) *conf.StringMatcher {
		if m == nil {
			return nil
		}
		s := c.stringMatcher(m, at)
		return &conf.StringMatcher{Kind: s.kind, Value: s.value, IgnoreCase: s.ignoreCase}
	}
	out := &conf.GenericRequestMatcher{
		Host: text(m.GetHost(), at.field("host")), Path: text(m.GetPath(), at.field("path")), Method: text(m.GetMethod(), at.field("method")),
	}
	for i, p := range m.GetProperties() {
		here := at.field("properties").index(i)
		if p.GetStringMatch() == nil {
			c.errs.at(here.field("string_match"), "is required")
			continue
		}
		out.Properties = append(out.Properties, conf.GenericPropertyMatcher{Name: p.GetName(), Value: *text(p.GetStringMatch(), here.field("string_match"))})
	}
	return out
}

// xdsStringMatcher compiles the StringMatcher of xDS, which is Envoy's in another package.
func (c *compiler) xdsStringMatcher(m *xdsv3.StringMatcher, at place) conf.StringMatcher {
	same := &matcherv3.StringMatcher{IgnoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *xdsv3.StringMatcher_Exact:
		same.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: p.Exact}
	case *xdsv3.StringMatcher_Prefix:
		same.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: p.Prefix}
	case *xdsv3.StringMatcher_Suffix:
		same.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: p.Suffix}
	case *xdsv3.StringMatcher_Contains:
		same.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: p.Contains}
	case *xdsv3.StringMatcher_SafeRegex:
		same.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p.SafeRegex.GetRegex()}}
	}
	s := c.stringMatcher(same, at)
	return conf.StringMatcher{Kind: s.kind, Value: s.value, IgnoreCase: s.ignoreCase}
}
