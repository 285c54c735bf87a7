package route

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// Explanation says why Match gives what it gives. It is made of the same compiled table.
type Explanation struct {
	// Result is what Match returns for the same input.
	Result Result
	// Host is the name that virtual hosts are chosen by, in lower case; Domain the domain that it matched,
	// as configured. Empty for none.
	Host, Domain string
	// Verdicts are those of the routes of the virtual host in their order, up to the one that was chosen;
	// of a virtual host with a match tree, of the routes that the tree leads to.
	Verdicts []Verdict
	// Note says what else decided: that https is required, or that the match tree leads nowhere. Empty for
	// nothing.
	Note string
}

// Verdict says of one route whether it was chosen and, if it was not, why.
type Verdict struct {
	Route *Route
	// Ordinal is its place among the routes.
	Ordinal int
	Chosen  bool
	// Why is the first condition that does not hold, and what the request has instead; empty for the chosen
	// route. The path is looked at first, since the index does so; the others follow in the order of RT-40.
	Why string
}

// Explain says why a request goes where Match sends it. Cold: it looks at every route up to the chosen one,
// and allocates.
func (t *Table) Explain(in *Input) Explanation {
	out := Explanation{Result: t.Match(in)}
	if t == nil {
		out.Note = "no route table: the request's scope key is incomplete, or no scope has it"
		return out
	}
	out.Host = strings.ToLower(string(t.host(in.Head)))
	vh := out.Result.VirtualHost
	if vh == nil {
		out.Note = "no virtual host has a domain for " + strconv.Quote(out.Host)
		return out
	}
	out.Domain = vh.domain(out.Host)
	switch {
	case out.Result.Kind == RequireTLS:
		out.Note = "the virtual host requires https; no route was looked at"
		return out
	case vh.requiresTLS() && len(t.proto(in)) == 0:
		out.Note = "the virtual host requires https and the request does not say what it came by; no route was looked at"
		return out
	}
	list := &vh.routeList
	if vh.tree != nil {
		o := vh.tree.leaf(t.path(in.Head), in)
		if o == nil {
			out.Note = "the virtual host's matcher leads to no route"
			return out
		}
		list = &o.routes
	}
	out.Verdicts = list.explain(t.path(in.Head), in, out.Result.Route)
	return out
}

// domain returns the domain of the virtual host that a host found it by.
func (vh *VirtualHost) domain(host string) string {
	best, rank := "", -1
	for _, d := range vh.Config.Domains {
		low, r := lowerASCII(d), -1
		switch {
		case low == "*":
			r = 0
		case strings.HasPrefix(low, "*") && strings.HasSuffix(host, low[1:]) && len(host) >= len(low):
			r = 1<<20 + len(low)
		case strings.HasSuffix(low, "*") && strings.HasPrefix(host, low[:len(low)-1]) && len(host) >= len(low):
			r = 1<<10 + len(low)
		case low == host:
			r = 1 << 30
		}
		if r > rank {
			best, rank = d, r
		}
	}
	return best
}

// leaf returns the routes that the tree leads to; nil for none.
func (t *tree) leaf(path []byte, in *Input) *outcome {
	o := t.decide(path, in)
	if o != nil && o.tree != nil {
		return o.tree.leaf(path, in)
	}
	return o
}

// explain judges the routes up to the chosen one; all of them when it is nil.
func (l *routeList) explain(path []byte, in *Input, chosen *Route) []Verdict {
	var out []Verdict
	for i := range l.routes {
		r := &l.routes[i]
		v := Verdict{Route: r, Ordinal: i, Chosen: r == chosen}
		if !v.Chosen {
			v.Why = r.why(path, in)
		}
		out = append(out, v)
		if v.Chosen {
			break
		}
	}
	return out
}

// why returns the first condition of the route that does not hold. "" means that all do, which cannot be
// of a route before the chosen one.
func (r *Route) why(path []byte, in *Input) string {
	if s := r.whyPath(path, in); s != "" {
		return s
	}
	if r.conditions == nil {
		return ""
	}
	return r.conditions.why(in)
}

func (r *Route) whyPath(path []byte, in *Input) string {
	m := &r.Config.Match
	if m.Kind == conf.PathConnect {
		if isConnect(in.Head) {
			return ""
		}
		return "the request is not a CONNECT"
	}
	if len(path) == 0 {
		return "the request has no path, and only a connect_matcher takes such"
	}
	fold := m.CaseInsensitive && m.Kind < conf.PathRegex
	text, literal := string(path), m.Path
	if fold {
		text, literal = lowerASCII(text), lowerASCII(literal)
	}
	cased := ""
	if fold {
		cased = " in any letter case"
	}
	want := ""
	switch m.Kind {
	case conf.PathExact:
		if text != literal {
			want = "is not " + strconv.Quote(m.Path) + cased
		}
	case conf.PathPrefix:
		if !strings.HasPrefix(text, literal) {
			want = "does not begin with " + strconv.Quote(m.Path) + cased
		}
	case conf.PathSeparatedPrefix:
		if text != literal && !strings.HasPrefix(text, literal+"/") {
			want = "is neither " + strconv.Quote(m.Path) + " nor below it" + cased
		}
	case conf.PathRegex:
		if !r.pattern.Match(path) {
			want = "does not match the expression " + strconv.Quote(m.Path) + " as a whole"
		}
	case conf.PathTemplate:
		if !r.pattern.Match(path) {
			want = "does not match the template " + strconv.Quote(m.Path)
		}
	}
	if want == "" {
		return ""
	}
	return "path " + match.Quote(path) + " " + want
}

// why names the first condition that does not hold, in the order in which hold asks.
func (c *conditions) why(in *Input) string {
	if c.fraction != nil && !c.fraction.Enabled(in.Random) {
		f := c.fraction.Percent()
		return fmt.Sprintf("it is for %d of %d requests (runtime_fraction), and this one, with number %d, is not among them",
			f.Numerator, f.Denominator, in.Random%uint64(f.Denominator))
	}
	if c.grpc && !isGRPC(in.Head) {
		return "the request is not gRPC: no content-type application/grpc"
	}
	for i := range c.headers {
		if m := &c.headers[i]; !m.Holds(in.Head, &in.Scratch) {
			return "wanted: " + m.String() + "; " + m.Found(in.Head)
		}
	}
	query := queryOf(in.Head.Bytes(in.Head.Path))
	for i := range c.queries {
		if m := &c.queries[i]; !m.holds(query) {
			return "wanted: query parameter " + m.String() + instead(parameter(query, m.name))
		}
	}
	for i := range c.cookies {
		if m := &c.cookies[i]; !m.holds(in.Head) {
			return "wanted: cookie " + m.name + " " + not(m.invert) + m.text.String() + instead(cookie(in.Head, m.name))
		}
	}
	if c.tls != nil && !tlsHolds(c.tls, in) {
		presented, validated := in.certificate()
		return fmt.Sprintf("wanted: tls_context%s; the client's certificate is presented: %v, validated: %v", tlsText(c.tls), presented, validated)
	}
	for i := range c.metadata {
		if m := &c.metadata[i]; !m.holds(in) {
			return "wanted: dynamic metadata " + m.namespace + " " + m.key + " " + not(m.invert) + textsOf(m.any) + instead(in.metadata(m.namespace, m.key))
		}
	}
	for i := range c.state {
		if m := &c.state[i]; !m.holds(in) {
			return "wanted: filter state " + m.key + " " + m.text.String() + instead(in.filterState(m.key))
		}
	}
	return ""
}

// String says what is wanted of a query parameter.
func (m *queryMatch) String() string {
	switch m.kind {
	case conf.MatchPresent:
		return m.name + " is there"
	case conf.MatchAbsent:
		return m.name + " is absent"
	}
	return m.name + " " + m.text.String()
}

func not(invert bool) string {
	if invert {
		return "not so: "
	}
	return ""
}

// instead says what there is instead.
func instead(v []byte, there bool) string {
	if !there {
		return "; it is absent"
	}
	return "; it is " + match.Quote(v)
}

func textsOf(list []match.Text) string {
	if len(list) == 0 {
		return "is there"
	}
	var out []string
	for i := range list {
		out = append(out, list[i].String())
	}
	return strings.Join(out, " or ")
}

func tlsText(m *conf.TLSMatch) string {
	out := ""
	if m.Presented != nil {
		out += fmt.Sprintf(" presented: %v", *m.Presented)
	}
	if m.Validated != nil {
		out += fmt.Sprintf(" validated: %v", *m.Validated)
	}
	return out
}
