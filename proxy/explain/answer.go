package explain

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/hcm"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Answer says where a request goes and why. Its JSON form is that of /explain?format=json.
type Answer struct {
	Listener string `json:"listener"`
	// FilterChain is the chain's name, or its number among the listener's; empty when none takes the
	// connection.
	FilterChain string `json:"filter_chain,omitempty"`
	// Ending says what becomes of the request when it is not forwarded.
	Ending      string `json:"ending,omitempty"`
	Client      string `json:"client,omitempty"`
	Internal    bool   `json:"internal,omitempty"`
	VirtualHost string `json:"virtual_host,omitempty"`
	Domain      string `json:"domain,omitempty"`
	// Passed are the routes before the chosen one, with the reason why each was passed over.
	Passed []Passed `json:"passed,omitempty"`
	Route  string   `json:"route,omitempty"`
	// Cluster and what follows are of a request that is forwarded.
	Cluster string   `json:"cluster,omitempty"`
	Hosts   []Host   `json:"hosts,omitempty"`
	Hash    string   `json:"hash,omitempty"`
	Changes []string `json:"header_changes,omitempty"`
}

// Passed is a route that was not chosen.
type Passed struct {
	Route string `json:"route"`
	Why   string `json:"why"`
}

// Host is a candidate of the cluster.
type Host struct {
	Address  string `json:"address"`
	Priority uint32 `json:"priority"`
	Health   string `json:"health"`
	// Picked: this is where the request would go now.
	Picked bool `json:"picked,omitempty"`
}

// Judge asks a connection manager: it is where a Question meets the compiled configuration. l and c say
// which one.
type Judge func(l *conf.Listener, c *conf.FilterChain, head []byte, conn *streaminfo.Connection, random uint64) (*hcm.Explanation, error)

// Ask answers a question about configuration b. Errors are about the question; a request that gets no
// answer from the proxy is an Answer.
func Ask(b *conf.Bootstrap, q *Question, judge Judge) (*Answer, error) {
	p, err := q.parse()
	if err != nil {
		return nil, err
	}
	l, err := p.listener(b)
	if err != nil {
		return nil, err
	}
	out := &Answer{Listener: l.Name}
	conn := p.connection(l)
	chain, err := p.chain(l, conn)
	if err != nil {
		return nil, err
	}
	if chain == nil {
		out.Ending = "the connection is closed: no filter chain takes it (NR)"
		return out, nil
	}
	out.FilterChain = chainName(l, chain)
	switch {
	case chain.HTTP == nil:
		out.Ending = "the connection is not for the HTTP connection manager: the filter chain ends in another filter"
		return out, nil
	case p.tls && chain.TLS == nil:
		out.Ending = "the filter chain does not end TLS: the client's handshake is taken for a bad request"
		return out, nil
	case !p.tls && chain.TLS != nil:
		out.Ending = "the filter chain ends TLS, and the client does not speak it: the connection is closed"
		return out, nil
	}
	e, err := judge(l, chain, p.head(), conn, q.Random)
	if err != nil {
		return nil, err
	}
	out.fill(e)
	return out, nil
}

func chainName(l *conf.Listener, chain *conf.FilterChain) string {
	if chain.Name != "" {
		return chain.Name
	}
	for i, c := range l.FilterChains {
		if c == chain {
			return fmt.Sprintf("filter_chains[%d]", i)
		}
	}
	return "default_filter_chain"
}

func (a *Answer) fill(e *hcm.Explanation) {
	if e.Client.IsValid() {
		a.Client = e.Client.String()
	}
	a.Internal = e.Internal
	if e.Refused != reason.None {
		a.Ending = fmt.Sprintf("status %d: %s (%s)", e.Refused.Entry().Status, e.Refused.Entry().Sentence, e.Details)
		if e.Location != "" {
			a.Ending += ", location " + e.Location
		}
		return
	}
	r := &e.Route
	if vh := r.Result.VirtualHost; vh != nil {
		a.VirtualHost, a.Domain = vh.Config.Name, r.Domain
	}
	for i := range r.Verdicts {
		if v := &r.Verdicts[i]; v.Chosen {
			a.Route = routeText(v.Route.Config)
		} else {
			a.Passed = append(a.Passed, Passed{routeText(v.Route.Config), v.Why})
		}
	}
	switch r.Result.Kind {
	case route.NoRoute:
		a.Ending = "status 404: no route (NR)"
	case route.RequireTLS, route.Redirect:
		a.Ending = "a redirect to " + e.Location
	case route.Direct:
		a.Ending = fmt.Sprintf("status %d, the route's own answer", r.Result.Route.Config.Direct.Status)
	case route.Forward:
		a.forward(e)
		return
	}
	if r.Note != "" {
		a.Ending += ": " + r.Note
	}
}

func (a *Answer) forward(e *hcm.Explanation) {
	a.Cluster = e.Cluster
	a.Changes = changes(e.Received, e.Sent)
	if e.Hash.OK {
		a.Hash = fmt.Sprintf("%016x", e.Hash.Value)
	}
	switch {
	case !e.Known:
		a.Ending = fmt.Sprintf("status %d: there is no cluster %q (NC)", e.Route.Result.Route.Config.Action.NotFoundStatus, e.Cluster)
		return
	case e.Picked == nil:
		a.Ending = "status 503: no healthy host (UH)"
	}
	for _, h := range e.Hosts.Hosts {
		a.Hosts = append(a.Hosts, Host{Address: hostAddress(h), Priority: h.Priority, Health: h.Flags().String(), Picked: h == e.Picked})
	}
}

func hostAddress(h *cluster.Host) string {
	if h.Pipe != "" {
		return h.Pipe
	}
	if a := h.Address(); a.IsValid() {
		return a.String()
	}
	return h.Hostname + ", not resolved"
}

// changes lists what differs between a request as it came and as it goes on.
func changes(before, after [][2]string) []string {
	var out []string
	rest := make(map[[2]string]int)
	for _, f := range after {
		rest[f]++
	}
	gone := make(map[string][]string)
	for _, f := range before {
		if rest[f] > 0 {
			rest[f]--
		} else {
			gone[f[0]] = append(gone[f[0]], f[1])
		}
	}
	for _, f := range after {
		if rest[f] == 0 {
			continue
		}
		rest[f]--
		if was := gone[f[0]]; len(was) > 0 {
			out = append(out, fmt.Sprintf("~ %s: %s -> %s", f[0], was[0], f[1]))
			gone[f[0]] = was[1:]
		} else {
			out = append(out, fmt.Sprintf("+ %s: %s", f[0], f[1]))
		}
	}
	for _, f := range before {
		if was := gone[f[0]]; len(was) > 0 {
			out = append(out, fmt.Sprintf("- %s: %s", f[0], was[0]))
			gone[f[0]] = was[1:]
		}
	}
	return out
}

// WriteTo prints the answer as text, a fact a line.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-14s %s\n", name, text)
		}
	}
	line("listener", a.Listener)
	line("filter chain", a.FilterChain)
	client := a.Client
	if a.Internal {
		client += " (internal)"
	}
	line("client", client)
	if a.Domain != "" {
		line("virtual host", fmt.Sprintf("%s (domain %s)", a.VirtualHost, a.Domain))
	}
	for _, p := range a.Passed {
		line("not", p.Route)
		line("", "  "+p.Why)
	}
	line("route", strings.TrimPrefix(a.Route, "route "))
	line("cluster", a.Cluster)
	for _, h := range a.Hosts {
		mark := ""
		if h.Picked {
			mark = "  <- picked"
		}
		line("host", fmt.Sprintf("%s, priority %d, %s%s", h.Address, h.Priority, h.Health, mark))
	}
	line("hash", a.Hash)
	for _, c := range a.Changes {
		line("header", c)
	}
	line("ends with", a.Ending)
	return b.WriteTo(w)
}
