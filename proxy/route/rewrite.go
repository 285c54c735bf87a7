package route

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// RewriteOptions are the facts a rewrite needs beside the route.
type RewriteOptions struct {
	// Info is what format strings of host_rewrite and path_rewrite read; nil: they rewrite nothing.
	Info *streaminfo.Info
	// Hostname is the chosen endpoint's, for auto_host_rewrite; empty when it has none.
	Hostname string
	// SuppressEnvoyHeaders leaves out x-envoy-original-path and x-envoy-original-host.
	SuppressEnvoyHeaders bool
}

// pathRewrite is one of the four rewrites of a path (RT-85). The zero value rewrites nothing.
type pathRewrite struct {
	prefix string
	regex  *substitution
	// template is the route's own path template, by what its variables are put together.
	template *regexp.Regexp
	by       []byte
	format   *format.Formatter
}

func (p *pathRewrite) compile(a *conf.RouteAction, t *conf.URITemplate) (err error) {
	kinds := 0
	for _, there := range []bool{a.PrefixRewrite != "", a.RegexRewrite != nil, a.PathTemplateRewrite != "", a.PathRewrite != ""} {
		if there {
			kinds++
		}
	}
	if kinds > 1 {
		return fmt.Errorf("prefix_rewrite: at most one of prefix_rewrite, regex_rewrite, path_rewrite_policy and path_rewrite (RT-85)")
	}
	switch {
	case a.PrefixRewrite != "":
		if a.PrefixRewrite[0] != '/' || !graphic(a.PrefixRewrite) {
			return fmt.Errorf("prefix_rewrite: %q must start with '/' and hold neither spaces nor controls", a.PrefixRewrite)
		}
		p.prefix = a.PrefixRewrite
	case a.RegexRewrite != nil:
		if p.regex, err = compileSubstitution(a.RegexRewrite, true); err != nil {
			return fmt.Errorf("regex_rewrite.%w", err)
		}
	case a.PathTemplateRewrite != "":
		if t == nil {
			return fmt.Errorf("path_rewrite_policy: needs a path_match_policy, whose variables it puts together")
		}
		by, err := t.Rewrite(a.PathTemplateRewrite)
		if err != nil {
			return fmt.Errorf("path_rewrite_policy.path_template_rewrite: %w", err)
		}
		if p.template, err = match.FullRegex(t.Expression); err != nil {
			return err
		}
		p.by = []byte(by)
	case a.PathRewrite != "":
		if p.format, err = compilePathFormat(a.PathRewrite); err != nil {
			return err
		}
	}
	return nil
}

// compilePathFormat compiles a path_rewrite.
func compilePathFormat(text string) (*format.Formatter, error) {
	f, err := format.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("path_rewrite: %w", err)
	}
	return f, nil
}

// hostRewrite is one of the five rewrites of a host. The zero value rewrites nothing.
type hostRewrite struct {
	literal []byte
	auto    bool
	header  *match.Name
	regex   *substitution
	format  *format.Formatter
}

// compile checks the rewrite: what it writes becomes part of a Host field.
func (r *hostRewrite) compile(a *conf.RouteAction) (err error) {
	kinds := 0
	if a.HostRewriteLiteral != "" {
		kinds++
		if !http1.ValidAuthority([]byte(a.HostRewriteLiteral)) {
			return fmt.Errorf("host_rewrite_literal: %q is not a host name", a.HostRewriteLiteral)
		}
		r.literal = []byte(a.HostRewriteLiteral)
	}
	if a.AutoHostRewrite {
		kinds++
		r.auto = true
	}
	if a.HostRewriteHeader != "" {
		kinds++
		if err := match.CheckName(a.HostRewriteHeader); err != nil {
			return fmt.Errorf("host_rewrite_header: %w", err)
		}
		n := match.NewName(a.HostRewriteHeader)
		r.header = &n
	}
	if a.HostRewritePathRegex != nil {
		kinds++
		if r.regex, err = compileSubstitution(a.HostRewritePathRegex, true); err != nil {
			return fmt.Errorf("host_rewrite_path_regex.%w", err)
		}
	}
	if a.HostRewrite != "" {
		kinds++
		if r.format, err = format.Compile(a.HostRewrite); err != nil {
			return fmt.Errorf("host_rewrite: %w", err)
		}
	}
	if kinds > 1 {
		return fmt.Errorf("host_rewrite_specifier: at most one of host_rewrite_literal, auto_host_rewrite, host_rewrite_header, host_rewrite_path_regex and host_rewrite")
	}
	return nil
}

// RewriteRequest turns the host and the path of a Forward result's request into what the upstream gets:
// first the host, then the path (RT-89; MutateRequest comes before). Call it once per request. No
// allocation beyond the head's own storage, but for expressions, templates and format strings.
func (res *Result) RewriteRequest(h *header.Head, o RewriteOptions) {
	res.RewriteHost(h, o) // both read the path as it came
	res.Route.rewritePath(h, &o)
}

// RewriteHost does the first half: for a further try at another endpoint, whose name auto_host_rewrite wants,
// of a request whose host is again what it was.
func (res *Result) RewriteHost(h *header.Head, o RewriteOptions) {
	r := res.Route
	if r.host.auto && o.Hostname != "" {
		setHost(h, r.Config.Action, []byte(o.Hostname), o.SuppressEnvoyHeaders)
	} else if host := r.host.value(h, &o); len(host) > 0 {
		setHost(h, r.Config.Action, host, o.SuppressEnvoyHeaders)
	} else if len(res.Target.hostLiteral) > 0 { // RT-75: a rewrite of the route replaces it
		setHost(h, r.Config.Action, res.Target.hostLiteral, o.SuppressEnvoyHeaders)
	}
}

// value returns the new host, empty for none and for auto_host_rewrite. What comes from the client may be no authority: that would
// break the Host field, and so rewrites nothing.
func (r *hostRewrite) value(h *header.Head, o *RewriteOptions) []byte {
	var v []byte
	switch {
	case r.literal != nil:
		return r.literal
	case r.header != nil:
		v, _ = r.header.First(h)
	case r.regex != nil:
		v = r.regex.apply(pathOf(h.Bytes(h.Path)))
	case r.format != nil && o.Info != nil:
		v = r.format.AppendHeader(nil, o.Info)
	}
	if len(v) == 0 || !http1.ValidAuthority(v) {
		return nil
	}
	return v
}

// rewritePath keeps the query (RT-86) and notes the old path (RT-88).
func (r *Route) rewritePath(h *header.Head, o *RewriteOptions) {
	p := &r.path
	old := h.Bytes(h.Path)
	if p.prefix != "" {
		if !o.SuppressEnvoyHeaders {
			h.Set(header.XEnvoyOriginalPath, old)
		}
		h.SetPathPrefixed(p.prefix, r.unmatched(old))
		return
	}
	path, query := splitQuery(old)
	var v []byte
	switch {
	case p.regex != nil:
		v = p.regex.apply(path)
	case p.template != nil:
		if m := p.template.FindSubmatchIndex(path); m != nil {
			v = p.template.Expand(nil, p.by, path, m)
		}
	case p.format != nil && o.Info != nil:
		v = appendEscapedPath(nil, p.format.AppendHeader(nil, o.Info))
	}
	if len(v) == 0 || bytes.Equal(v, path) {
		return
	}
	if !o.SuppressEnvoyHeaders {
		h.Set(header.XEnvoyOriginalPath, old)
	}
	v = append(v, query...)
	if v[0] != '/' {
		v = append([]byte{'/'}, v...)
	}
	h.SetPath(v)
}

// appendEscapedPath appends a path that may hold what a client sent in a header: bytes that would end it,
// or the request line, are percent-encoded.
func appendEscapedPath(dst, path []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range path {
		if c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// unmatched returns what follows the part of a target that the route's match speaks of (RT-86): its prefix,
// or the whole path.
func (r *Route) unmatched(target []byte) []byte {
	m := &r.Config.Match
	switch m.Kind {
	case conf.PathRegex, conf.PathTemplate, conf.PathConnect:
		_, query := splitQuery(target)
		return query
	}
	return target[min(len(m.Path), len(target)):]
}

// setHost makes host the authority and keeps the old one where it was asked for (RT-83).
func setHost(h *header.Head, a *conf.RouteAction, host []byte, suppress bool) {
	old := h.Bytes(h.Authority)
	if a.AppendXForwardedHost && len(old) > 0 && !bytes.Equal(lastElement(h, header.XForwardedHost), old) {
		if i := h.Index(header.XForwardedHost); i >= 0 && h.Next(i) >= 0 {
			// The list is spread over several fields; one more continues it (RFC 9110 5.3).
			h.Add(header.XForwardedHost, header.XForwardedHost.String(), old)
		} else {
			h.Append(header.XForwardedHost, ",", old)
		}
	}
	if !suppress {
		h.Set(header.XEnvoyOriginalHost, old)
	}
	h.SetAuthority(host)
}

// lastElement returns the last element of a comma list, nil when there is no such field.
func lastElement(h *header.Head, id header.Known) []byte {
	i := h.Index(id)
	if i < 0 {
		return nil
	}
	for j := h.Next(i); j >= 0; j = h.Next(j) {
		i = j
	}
	v := h.Bytes(h.Fields[i].Value)
	return bytes.TrimSpace(v[bytes.LastIndexByte(v, ',')+1:])
}

// graphic says whether s holds only bytes that may stand in a request target.
func graphic(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
