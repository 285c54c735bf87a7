package http1

import "bytes"

// EscapedSlashAction is path_with_escaped_slashes_action (HC-91), the runtime default resolved.
type EscapedSlashAction uint8

// What is done with %2F and %5C in a path.
const (
	EscapedSlashKeep EscapedSlashAction = iota
	EscapedSlashReject
	EscapedSlashRedirect
	EscapedSlashForward
)

// PathOptions say how paths are treated. Compiled once, read-only.
type PathOptions struct {
	Normalize    bool // normalize_path
	MergeSlashes bool // merge_slashes
	// RejectFragment refuses a '#'; when false the fragment is cut off.
	RejectFragment bool
	EscapedSlashes EscapedSlashAction
}

// PathResult is what became of a path.
type PathResult uint8

// The results of NormalizePath.
const (
	PathUnchanged PathResult = iota
	// PathChanged: the new path is to be used.
	PathChanged
	// PathRedirect: the client is to be sent to the new path with 307.
	PathRedirect
	// PathRejected: 400, path_normalization_failed.
	PathRejected
)

// NormalizePath applies o to a path with its query, in the order fragment, escaped slashes,
// normalisation, slash merge (HC-90). Only the path is rewritten, never the query.
//
// PathChanged and PathRedirect append the new path and query to dst; otherwise dst is returned as it
// was. Anything that does not begin with '/' (an asterisk, an absolute target kept whole) only loses
// its fragment. dst must not overlap path. Cost: one look at the path when there is nothing to do.
func NormalizePath(dst, path []byte, o *PathOptions) ([]byte, PathResult) {
	whole := path
	if i := bytes.IndexByte(path, '#'); i >= 0 {
		if o.RejectFragment {
			return dst, PathRejected
		}
		whole = path[:i]
	}
	end := bytes.IndexByte(whole, '?')
	if end < 0 {
		end = len(whole)
	}
	if len(whole) == 0 || whole[0] != '/' || plainPath(whole[:end]) {
		if len(whole) == len(path) {
			return dst, PathUnchanged
		}
		return append(dst, whole...), PathChanged
	}
	start := len(dst)
	dst, result := appendDecoded(dst, whole[:end], o)
	if result == PathRejected {
		return dst[:start], PathRejected
	}
	p := dst[start:]
	if o.Normalize {
		p = removeDotSegments(p)
	}
	if o.MergeSlashes {
		p = mergeSlashes(p)
	}
	if result == PathUnchanged && len(whole) == len(path) && bytes.Equal(p, whole[:end]) {
		return dst[:start], PathUnchanged
	}
	dst = append(dst[:start+len(p)], whole[end:]...)
	return dst, max(result, PathChanged)
}

// plainPath says whether no option could change p: no escape, no backslash, no empty segment and no
// segment that begins with a dot.
func plainPath(p []byte) bool {
	slash := false
	for _, c := range p {
		if class[c]&pathSpecial != 0 && (c == '%' || c == '\\' || slash) {
			return false
		}
		slash = c == '/'
	}
	return true
}

// appendDecoded unescapes slashes as EscapedSlashes says (HC-91) and, to normalise, unreserved
// characters, with '\' read as '/' (HC-92). An encoded NUL cannot be normalised; an escape that is
// none stays as it is.
func appendDecoded(dst, p []byte, o *PathOptions) ([]byte, PathResult) {
	result := PathUnchanged
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' && i+2 < len(p) && hexDigit[p[i+1]] <= 15 && hexDigit[p[i+2]] <= 15 {
			d := hexDigit[p[i+1]]<<4 | hexDigit[p[i+2]]
			slash := (d == '/' || d == '\\') && o.EscapedSlashes != EscapedSlashKeep
			switch {
			case slash && o.EscapedSlashes == EscapedSlashReject, o.Normalize && d == 0:
				return dst, PathRejected
			case slash && o.EscapedSlashes == EscapedSlashRedirect:
				result = PathRedirect
			}
			if !slash && (!o.Normalize || class[d]&unreserved == 0) {
				dst = append(dst, p[i:i+3]...)
				i += 2
				continue
			}
			c, i = d, i+2
		}
		if c == '\\' && o.Normalize {
			c = '/'
		}
		dst = append(dst, c)
	}
	return dst, result
}

// removeDotSegments does RFC 3986 5.2.4 in place; ".." at the root stays at the root.
func removeDotSegments(p []byte) []byte {
	out := p[:0]
	for i := 0; i < len(p); {
		// p[i] is a slash; the segment runs to the next one.
		end := len(p)
		if k := bytes.IndexByte(p[i+1:], '/'); k >= 0 {
			end = i + 1 + k
		}
		switch string(p[i+1 : end]) {
		case ".":
			if end == len(p) {
				out = append(out, '/')
			}
		case "..":
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
			if end == len(p) {
				out = append(out, '/')
			}
		default:
			out = append(out, p[i:end]...)
		}
		i = end
	}
	return out
}

// mergeSlashes makes runs of slashes one, in place (HC-93).
func mergeSlashes(p []byte) []byte {
	out := p[:0]
	for i, c := range p {
		if c != '/' || i == 0 || out[len(out)-1] != '/' {
			out = append(out, c)
		}
	}
	return out
}
