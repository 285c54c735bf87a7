package route

import (
	"bytes"
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// RewriteOptions are the facts a rewrite needs beside the route.
type RewriteOptions struct {
	// Hostname is the chosen endpoint's, for auto_host_rewrite; empty when it has none.
	Hostname string
	// SuppressEnvoyHeaders leaves out x-envoy-original-path and x-envoy-original-host.
	SuppressEnvoyHeaders bool
}

// compileRewrites checks the rewrites of an action: what they write becomes part of a request line or
// a Host field.
func (r *Route) compileRewrites(a *conf.RouteAction) error {
	if p := a.PrefixRewrite; p != "" && (p[0] != '/' || !graphic(p)) {
		return fmt.Errorf("prefix_rewrite: %q must start with '/' and hold neither spaces nor controls", p)
	}
	hosts := 0
	if a.HostRewriteLiteral != "" {
		hosts++
		if !http1.ValidAuthority([]byte(a.HostRewriteLiteral)) {
			return fmt.Errorf("host_rewrite_literal: %q is not a host name", a.HostRewriteLiteral)
		}
		r.hostLiteral = []byte(a.HostRewriteLiteral)
	}
	if a.AutoHostRewrite {
		hosts++
	}
	if a.HostRewriteHeader != "" {
		hosts++
		if err := match.CheckName(a.HostRewriteHeader); err != nil {
			return fmt.Errorf("host_rewrite_header: %w", err)
		}
		n := match.NewName(a.HostRewriteHeader)
		r.rewriteHeader = &n
	}
	if hosts > 1 {
		return fmt.Errorf("host_rewrite_specifier: at most one of host_rewrite_literal, auto_host_rewrite and host_rewrite_header")
	}
	return nil
}

// RewriteRequest turns the host and the path of a Forward route's request into what the upstream
// gets: first the host, then the path (RT-89; MutateRequest comes before). Call it once per request.
// No allocation beyond the head's own storage.
func (r *Route) RewriteRequest(h *header.Head, o RewriteOptions) {
	a := r.Config.Action
	switch {
	case r.hostLiteral != nil:
		setHost(h, a, r.hostLiteral, o.SuppressEnvoyHeaders)
	case a.AutoHostRewrite:
		if o.Hostname != "" {
			setHost(h, a, []byte(o.Hostname), o.SuppressEnvoyHeaders)
		}
	case r.rewriteHeader != nil:
		// The value may be the client's: one that is no authority would break the Host field.
		if v, ok := r.rewriteHeader.First(h); ok && http1.ValidAuthority(v) {
			setHost(h, a, v, o.SuppressEnvoyHeaders)
		}
	}
	if a.PrefixRewrite == "" {
		return
	}
	old := h.Bytes(h.Path)
	if !o.SuppressEnvoyHeaders {
		h.Set(header.XEnvoyOriginalPath, old) // RT-88
	}
	h.SetPathPrefixed(a.PrefixRewrite, r.unmatched(old))
}

// unmatched returns what follows the matched prefix or path (RT-86).
func (r *Route) unmatched(path []byte) []byte { return path[min(len(r.Config.Match.Path), len(path)):] }

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
