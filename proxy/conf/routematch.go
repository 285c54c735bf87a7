package conf

// PathKind is which path specifier a RouteMatch uses.
type PathKind uint8

// Path specifiers (RT-41).
const (
	PathPrefix PathKind = iota
	PathExact
	PathSeparatedPrefix
	PathRegex    // full match
	PathTemplate // URI template
	PathConnect  // CONNECT and CONNECT-UDP, whatever the path
)

// RouteMatch is config.route.v3.RouteMatch.
type RouteMatch struct {
	Kind            PathKind
	Path            string // literal, expression or template
	CaseInsensitive bool   // case_sensitive: false; of the three literal kinds
	// RuntimeFraction is the share of requests that the route is for; nil: all.
	RuntimeFraction *RuntimeFraction
	// GRPC: gRPC requests only.
	GRPC            bool
	Headers         []*HeaderMatcher
	QueryParameters []*QueryMatcher
	Cookies         []*CookieMatcher
	TLS             *TLSMatch
	DynamicMetadata []*MetadataMatcher
	FilterState     []*FilterStateMatcher
}

// RuntimeFraction is core.v3.RuntimeFractionalPercent.
type RuntimeFraction struct {
	Default Fraction
	Key     string
}

// CookieMatcher is config.route.v3.CookieMatcher.
type CookieMatcher struct {
	Name   string
	Value  StringMatcher
	Invert bool
}

// TLSMatch is RouteMatch.tls_context: what the client's certificate must be; nil: no matter.
type TLSMatch struct{ Presented, Validated *bool }

// MetadataMatcher is type.matcher.v3.MetadataMatcher of a value that is text.
type MetadataMatcher struct {
	Namespace, Key string
	// Values are what the value may be; none: it need only be there.
	Values []StringMatcher
	Invert bool
}

// FilterStateMatcher is type.matcher.v3.FilterStateMatcher of a value that is text.
type FilterStateMatcher struct {
	Key   string
	Value StringMatcher
}

// StringMatchKind is which form a StringMatcher has.
type StringMatchKind uint8

// String matchers.
const (
	MatchExact StringMatchKind = iota
	MatchPrefix
	MatchSuffix
	MatchContains
	MatchRegex // RE2, full match
	MatchPresent
	MatchAbsent
	MatchRange // int64, Start <= v < End
)

// HeaderMatcher is config.route.v3.HeaderMatcher.
type HeaderMatcher struct {
	Name                string // lower case; ":method" and friends allowed
	Kind                StringMatchKind
	Value               string
	IgnoreCase          bool
	Start, End          int64
	Invert              bool
	TreatMissingAsEmpty bool
}

// QueryMatcher is config.route.v3.QueryParameterMatcher.
type QueryMatcher struct {
	Name       string
	Kind       StringMatchKind
	Value      string
	IgnoreCase bool
}

// MatchTree is xds.type.matcher.v3.Matcher whose actions are routes. It is a list (List) or a map (Map);
// Otherwise is on_no_match.
type MatchTree struct {
	List      []MatchCase
	Map       *MatchMap
	Otherwise *MatchOutcome
}

// EachRoute calls f with every route of the tree, which may be nil.
func (t *MatchTree) EachRoute(f func(*Route)) {
	if t == nil {
		return
	}
	for i := range t.List {
		t.List[i].Outcome.eachRoute(f)
	}
	if t.Map != nil {
		for _, o := range t.Map.Outcomes {
			o.eachRoute(f)
		}
	}
	if t.Otherwise != nil {
		t.Otherwise.eachRoute(f)
	}
}

func (o *MatchOutcome) eachRoute(f func(*Route)) {
	for _, r := range o.Routes {
		f(r)
	}
	o.Tree.EachRoute(f)
}

// MatchCase is one entry of a matcher_list.
type MatchCase struct {
	If      MatchPredicate
	Outcome MatchOutcome
}

// MatchMap is a matcher_tree: the outcome of the input's text, or with Prefixes of the longest key it
// begins with.
type MatchMap struct {
	Input    MatchInput
	Prefixes bool
	Outcomes map[string]MatchOutcome
}

// MatchOutcome is either a further tree or routes, of which the first that matches is taken.
type MatchOutcome struct {
	Tree   *MatchTree
	Routes []*Route
	// KeepMatching goes on as if there were no match.
	KeepMatching bool
}

// PredicateKind tells the members of MatchPredicate apart.
type PredicateKind uint8

// Predicates.
const (
	PredicateValue PredicateKind = iota
	PredicateAnd
	PredicateOr
	PredicateNot
)

// MatchPredicate is Matcher.MatcherList.Predicate.
type MatchPredicate struct {
	Kind  PredicateKind
	Input MatchInput
	Value StringMatcher
	Of    []MatchPredicate // and, or, not
}

// InputKind is what a MatchInput reads.
type InputKind uint8

// Inputs of match trees.
const (
	InputHeader InputKind = iota
	InputQueryParameter
	InputSourceIP
	InputDirectSourceIP
	InputDestinationIP
	InputSourcePort
	InputDestinationPort
	InputServerName
)

// MatchInput is one of the inputs of HTTP and network matching. Name is that of the header (lower case)
// or parameter.
type MatchInput struct {
	Kind InputKind
	Name string
}

// ScopedRoutes is HttpConnectionManager.ScopedRoutes with a list of scopes.
type ScopedRoutes struct {
	Name string
	// Key says how the fragments of a request's scope key are found.
	Key    []ScopeFragment
	Scopes []Scope
}

// ScopeFragment is a header_value_extractor.
type ScopeFragment struct {
	Header string // lower case
	// ElementSeparator cuts the value into elements; empty: it is one.
	ElementSeparator string
	// ByKey takes the value of the element whose key, before KeySeparator, is Key; else the element
	// at Index is taken.
	ByKey             bool
	Index             uint32
	Key, KeySeparator string
}

// Scope is config.route.v3.ScopedRouteConfiguration.
type Scope struct {
	Name   string
	Key    []string
	Routes *RouteConfiguration
}

// RouteTables returns every route table of the manager: the one it has, or those of its scopes.
func (m *HTTPConnectionManager) RouteTables() []*RouteConfiguration {
	if m.Scoped == nil {
		return []*RouteConfiguration{m.Routes}
	}
	out := make([]*RouteConfiguration, len(m.Scoped.Scopes))
	for i := range m.Scoped.Scopes {
		out[i] = m.Scoped.Scopes[i].Routes
	}
	return out
}
