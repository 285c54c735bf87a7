package explain

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Question is a request to be explained: what a client would send, and from where.
type Question struct {
	Method string
	// URL is absolute: the scheme says whether the client speaks TLS, the port which listener it reaches,
	// and the rest is what it asks for.
	URL    string
	Header [][2]string
	// From is the client's address; 192.0.2.1 (which no network has) when invalid.
	From netip.AddrPort
	// SNI is the server name of the TLS handshake; the URL's host by default. ALPN are the protocols it
	// offers.
	SNI  string
	ALPN []string
	// Listener is the name of the listener; empty: the one that the URL's port leads to, or the only one.
	Listener string
	// Random is the number by which chance decides, where a route leaves something to chance.
	Random uint64
}

// nobody is a client's address when none is given (RFC 5737).
var nobody = netip.MustParseAddrPort("192.0.2.1:50000")

// parsed is a Question made ready.
type parsed struct {
	*Question
	url  *url.URL
	tls  bool
	port uint16
}

func (q *Question) parse() (*parsed, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, err
	}
	p := &parsed{Question: q, url: u}
	switch u.Scheme {
	case "http":
		p.port = 80
	case "https":
		p.port, p.tls = 443, true
	default:
		return nil, fmt.Errorf("%q: give an absolute URL, http://host/path or https://host/path", q.URL)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("%q has no host", q.URL)
	}
	if u.Port() != "" {
		if _, err := fmt.Sscan(u.Port(), &p.port); err != nil {
			return nil, fmt.Errorf("port %q: %w", u.Port(), err)
		}
	}
	if q.Method == "" || strings.ContainsAny(q.Method, " \r\n") {
		return nil, fmt.Errorf("method %q is no token", q.Method)
	}
	for _, h := range q.Header {
		if h[0] == "" || strings.ContainsAny(h[0], ": \r\n") || strings.ContainsAny(h[1], "\r\n") {
			return nil, fmt.Errorf("header %q: %q is not one", h[0], h[1])
		}
	}
	return p, nil
}

// head is the request as a client would write it.
func (p *parsed) head() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", p.Method, p.url.RequestURI())
	if !p.hasHost() {
		fmt.Fprintf(&b, "host: %s\r\n", p.url.Host)
	}
	for _, h := range p.Header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func (p *parsed) hasHost() bool {
	for _, h := range p.Header {
		if strings.EqualFold(h[0], "host") {
			return true
		}
	}
	return false
}

// connection is what the proxy would know of the client's connection to l, by what l's listener filters
// look at.
func (p *parsed) connection(l *conf.Listener) *streaminfo.Connection {
	c := &streaminfo.Connection{Remote: p.From, Local: local(l, p.port), Listener: &streaminfo.Listener{Name: l.Name}}
	if !c.Remote.IsValid() {
		c.Remote = nobody
	}
	for _, f := range l.Filters {
		switch {
		case f.TLSInspector != nil && p.tls:
			x := extra(c)
			x.Transport = conf.TransportTLS
			sni := p.SNI
			if sni == "" {
				sni = p.url.Hostname()
			}
			x.ServerName = []byte(strings.ToLower(sni))
			for _, name := range p.ALPN {
				x.AddALPN(name)
			}
		case f.HTTPInspector != nil && !p.tls:
			extra(c).AddALPN("http/1.1")
		}
	}
	return c
}

func extra(c *streaminfo.Connection) *streaminfo.Extra {
	if c.Extra == nil {
		c.Extra = new(streaminfo.Extra)
	}
	return c.Extra
}

// local is the address of l that the port leads to, the first one when none has that port.
func local(l *conf.Listener, port uint16) netip.AddrPort {
	for _, a := range l.Addresses {
		if a.IP.Port() == port {
			return a.IP
		}
	}
	return l.Addresses[0].IP
}

// listener finds the listener that the question is for.
func (p *parsed) listener(b *conf.Bootstrap) (*conf.Listener, error) {
	var byPort, http []*conf.Listener
	for _, l := range b.Listeners {
		if p.Listener != "" {
			if l.Name == p.Listener {
				return l, nil
			}
			continue
		}
		if serves(l) {
			http = append(http, l)
		}
		for _, a := range l.Addresses {
			if a.IP.Port() == p.port {
				byPort = append(byPort, l)
				break
			}
		}
	}
	switch {
	case p.Listener != "":
		return nil, fmt.Errorf("there is no listener %q; there are: %s", p.Listener, names(b.Listeners))
	case len(byPort) == 1:
		return byPort[0], nil
	case len(byPort) == 0 && len(http) == 1:
		return http[0], nil
	case len(b.Listeners) == 0:
		return nil, errors.New("the configuration has no listener")
	case len(byPort) == 0:
		return nil, fmt.Errorf("no listener has port %d; name one: %s", p.port, names(b.Listeners))
	}
	return nil, fmt.Errorf("several listeners have port %d; name one: %s", p.port, names(byPort))
}

// serves says whether a listener has an HTTP connection manager.
func serves(l *conf.Listener) bool {
	for _, c := range l.Chains() {
		if c.HTTP != nil {
			return true
		}
	}
	return false
}

func names(list []*conf.Listener) string {
	out := make([]string, len(list))
	for i, l := range list {
		out[i] = l.Name
	}
	return strings.Join(out, ", ")
}

// chain finds the filter chain. With TLS that the chain ends, the connection is a TLS one from there on.
func (p *parsed) chain(l *conf.Listener, c *streaminfo.Connection) (*conf.FilterChain, error) {
	chain, err := listener.ChooseChain(l, c)
	if chain != nil && chain.TLS != nil && p.tls {
		c.Secure = new(streaminfo.Secure)
	}
	return chain, err
}
