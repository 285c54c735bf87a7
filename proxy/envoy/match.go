//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// stringMatch is the part HeaderMatcher and QueryMatcher share.
type stringMatch struct {
	kind       conf.StringMatchKind
	value      string
	ignoreCase bool
}

func (c *compiler) stringMatcher(m *matcherv3.StringMatcher, at place) stringMatch {
	out := stringMatch{ignoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.kind, out.value = conf.MatchExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.kind, out.value = conf.MatchPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.kind, out.value = conf.MatchSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.kind, out.value = conf.MatchContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		out.kind, out.value = conf.MatchRegex, c.regex(p.SafeRegex, at.field("safe_regex"))
		if out.ignoreCase {
			c.errs.at(at.field("ignore_case"), "has no effect on safe_regex; begin the expression with (?i)")
		}
	}
	return out
}

// regex checks an RE2 expression, which is what Go's are.
func (c *compiler) regex(m *matcherv3.RegexMatcher, at place) string {
	if _, err := regexp.Compile(m.GetRegex()); err != nil {
		c.errs.at(at.field("regex"), "%v", err)
	}
	return m.GetRegex()
}

func (c *compiler) headerMatcher(m *routev3.HeaderMatcher, at place) *conf.HeaderMatcher {
	out := &conf.HeaderMatcher{
		Name: strings.ToLower(m.GetName()), Kind: conf.MatchPresent,
		Invert: m.GetInvertMatch(), TreatMissingAsEmpty: m.GetTreatMissingHeaderAsEmpty(),
	}
	if out.Name == "host" {
		c.errs.at(at.field("name"), "host is called :authority here") // RT-49
	}
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		match := c.stringMatcher(s.StringMatch, at.field("string_match"))
		out.Kind, out.Value, out.IgnoreCase = match.kind, match.value, match.ignoreCase
	case *routev3.HeaderMatcher_ExactMatch:
		if s.ExactMatch != "" { // empty: any value (routing.md 6.1)
			out.Kind, out.Value = conf.MatchExact, s.ExactMatch
		}
	case *routev3.HeaderMatcher_PrefixMatch:
		out.Kind, out.Value = conf.MatchPrefix, s.PrefixMatch
	case *routev3.HeaderMatcher_SuffixMatch:
		out.Kind, out.Value = conf.MatchSuffix, s.SuffixMatch
	case *routev3.HeaderMatcher_ContainsMatch:
		out.Kind, out.Value = conf.MatchContains, s.ContainsMatch
	case *routev3.HeaderMatcher_SafeRegexMatch:
		out.Kind, out.Value = conf.MatchRegex, c.regex(s.SafeRegexMatch, at.field("safe_regex_match"))
	case *routev3.HeaderMatcher_RangeMatch:
		out.Kind, out.Start, out.End = conf.MatchRange, s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()
		if out.Start >= out.End {
			c.errs.at(at.field("range_match"), "matches nothing: start must be less than end")
		}
	case *routev3.HeaderMatcher_PresentMatch:
		if !s.PresentMatch {
			out.Kind = conf.MatchAbsent
		}
	}
	return out
}

func (c *compiler) queryMatcher(m *routev3.QueryParameterMatcher, at place) *conf.QueryMatcher {
	out := &conf.QueryMatcher{Name: m.GetName(), Kind: conf.MatchPresent}
	switch s := m.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_StringMatch:
		match := c.stringMatcher(s.StringMatch, at.field("string_match"))
		out.Kind, out.Value, out.IgnoreCase = match.kind, match.value, match.ignoreCase
	case *routev3.QueryParameterMatcher_PresentMatch:
		if !s.PresentMatch {
			out.Kind = conf.MatchAbsent
		}
	}
	return out
}

// mutated is what has the four lists of header mutations.
type mutated interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func (c *compiler) mutations(m mutated, at place) conf.HeaderMutations {
	return conf.HeaderMutations{
		RequestAdd:     c.headerValues(m.GetRequestHeadersToAdd(), at.field("request_headers_to_add")),
		RequestRemove:  c.headerNames(m.GetRequestHeadersToRemove(), at.field("request_headers_to_remove")),
		ResponseAdd:    c.headerValues(m.GetResponseHeadersToAdd(), at.field("response_headers_to_add")),
		ResponseRemove: c.headerNames(m.GetResponseHeadersToRemove(), at.field("response_headers_to_remove")),
	}
}

// headerName refuses what must not be mutated (RT-69b).
func (c *compiler) headerName(name string, at place) string {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ":") || name == "host" {
		c.errs.at(at, "%s cannot be added, changed or removed", name)
	}
	return name
}

func (c *compiler) headerNames(names []string, at place) (out []string) {
	for i, name := range names {
		out = append(out, c.headerName(name, at.index(i)))
	}
	return out
}

func (c *compiler) headerValues(list []*corev3.HeaderValueOption, at place) (out []conf.HeaderValue) {
	for i, m := range list {
		out = append(out, c.headerValue(m, at.index(i)))
	}
	return out
}

func (c *compiler) headerValue(m *corev3.HeaderValueOption, here place) conf.HeaderValue {
	header := here.field("header")
	value := conf.HeaderValue{
		Name:   c.headerName(m.GetHeader().GetKey(), header.field("key")),
		Value:  m.GetHeader().GetValue(),
		Action: conf.AppendAction(m.GetAppendAction()), KeepEmpty: m.GetKeepEmptyValue(),
	}
	c.formatString(value.Value, header.field("value"))
	if legacy := m.GetAppend(); legacy != nil { // RT-69
		if m.GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
			c.errs.at(here.field("append"), "excludes append_action: only one of them may be set")
		}
		if !legacy.GetValue() {
			value.Action = conf.OverwriteIfExistsOrAdd
		}
	}
	return value
}
