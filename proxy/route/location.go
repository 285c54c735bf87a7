package route

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// compileRedirect checks a redirect: what it writes becomes part of a Location field.
func (r *Route) compileRedirect(c *conf.RedirectAction) error {
	r.status = defaultRedirect
	if c.StatusCode != 0 {
		r.status = c.StatusCode
	}
	if !slices.Contains([]uint16{301, 302, 303, 307, 308}, r.status) {
		return fmt.Errorf("response_code: %d is not 301, 302, 303, 307 or 308", r.status)
	}
	if c.HTTPS && c.Scheme != "" {
		return fmt.Errorf("scheme_rewrite_specifier: https_redirect and scheme_redirect exclude each other")
	}
	kinds := 0
	for _, there := range []bool{c.Path != "", c.HasPrefix, c.RegexRewrite != nil, c.PathRewrite != ""} {
		if there {
			kinds++
		}
	}
	if kinds > 1 {
		return fmt.Errorf("path_rewrite_specifier: path_redirect, prefix_rewrite, regex_rewrite and path_rewrite exclude each other")
	}
	var err error
	if c.RegexRewrite != nil {
		if r.path.regex, err = compileSubstitution(c.RegexRewrite, true); err != nil {
			return fmt.Errorf("regex_rewrite.%w", err)
		}
	}
	if c.PathRewrite != "" {
		if r.path.format, err = compilePathFormat(c.PathRewrite); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, value string }{
		{"scheme_redirect", c.Scheme}, {"host_redirect", c.Host}, {"path_redirect", c.Path}, {"prefix_rewrite", c.PrefixRewrite},
	} {
		if !graphic(f.value) {
			return fmt.Errorf("%s: %q must hold neither spaces nor controls", f.name, f.value)
		}
	}
	return nil
}

// AppendLocation appends the Location of a RequireTLS or Redirect result and returns it with the
// status of the reply. proto is the request's x-forwarded-proto, i what a path_rewrite reads. Not for
// other kinds.
func (res *Result) AppendLocation(dst []byte, h *header.Head, proto []byte, i *streaminfo.Info) (location []byte, status uint16) {
	if res.Kind == RequireTLS {
		// RT-31: authority and path as they came, the port too.
		dst = append(dst, "https://"...)
		dst = append(dst, h.Bytes(h.Authority)...)
		return append(dst, h.Bytes(h.Path)...), 301
	}
	return res.Route.appendLocation(dst, h, proto, i), res.Route.status
}

// appendLocation appends the Location of a Redirect route (RT-60, RT-61):
//
//	scheme "://" host [":" port] path [query]
func (r *Route) appendLocation(dst []byte, h *header.Head, proto []byte, i *streaminfo.Info) []byte {
	c := r.Config.Redirect
	start := len(dst)
	switch {
	case c.HTTPS:
		dst = append(dst, "https"...)
	case c.Scheme != "":
		dst = append(dst, c.Scheme...)
	case h.Scheme.Len != 0:
		dst = append(dst, h.Bytes(h.Scheme)...)
	default:
		dst = append(dst, proto...)
	}
	scheme := dst[start:]
	host := []byte(c.Host)
	if c.Host == "" {
		host = redirectHost(h.Bytes(h.Authority), scheme, proto, c.Port != 0)
	}
	dst = append(dst, "://"...)
	dst = append(dst, host...)
	if c.Port != 0 {
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(c.Port), 10)
	}
	return r.appendPath(dst, h.Bytes(h.Path), i)
}

// redirectHost returns the authority without a port that the redirect replaces or that was only the
// default of the protocol it leaves (RT-61).
func redirectHost(authority, scheme, proto []byte, newPort bool) []byte {
	host, port, ok := http1.SplitPort(authority)
	if !ok || len(host) == len(authority) {
		return authority
	}
	if newPort {
		return host
	}
	if bytes.EqualFold(scheme, proto) {
		return authority
	}
	if header.EqualFold(proto, "http") && string(port) == "80" || header.EqualFold(proto, "https") && string(port) == "443" {
		return host
	}
	return authority
}

func (r *Route) appendPath(dst, target []byte, i *streaminfo.Info) []byte {
	c := r.Config.Redirect
	start := len(dst)
	path, query := splitQuery(target)
	switch {
	case c.Path != "":
		dst = append(dst, c.Path...)
		if bytes.IndexByte(dst[start:], '?') >= 0 {
			query = nil // path_redirect brings its own, whatever strip_query says
		}
	case c.HasPrefix:
		dst = append(dst, c.PrefixRewrite...)
		dst = append(dst, r.unmatched(path)...)
	case r.path.regex != nil:
		dst = append(dst, r.path.regex.apply(path)...)
	case r.path.format != nil:
		// What it reads may be the client's; nothing of it may end the path. An empty result changes nothing.
		if v := r.path.format.AppendHeader(nil, i); len(v) > 0 {
			path = v
		}
		dst = appendEscapedPath(dst, path)
	default:
		dst = append(dst, path...)
	}
	if start == len(dst) || dst[start] != '/' {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '/'
	}
	if !c.StripQuery {
		dst = append(dst, query...)
	}
	return dst
}

// splitQuery cuts a target before its question mark.
func splitQuery(target []byte) (path, query []byte) {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i:]
	}
	return target, nil
}
