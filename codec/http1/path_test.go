package http1

import (
	"bytes"
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	none := PathOptions{}
	normal := PathOptions{Normalize: true}
	merge := PathOptions{MergeSlashes: true}
	both := PathOptions{Normalize: true, MergeSlashes: true}
	fragment := PathOptions{RejectFragment: true}
	reject := PathOptions{EscapedSlashes: EscapedSlashReject}
	redirect := PathOptions{EscapedSlashes: EscapedSlashRedirect, Normalize: true}
	forward := PathOptions{EscapedSlashes: EscapedSlashForward}
	forwardNormal := PathOptions{EscapedSlashes: EscapedSlashForward, Normalize: true, MergeSlashes: true}
	tests := []struct {
		name   string
		o      PathOptions
		in     string
		want   string // empty: as in
		result PathResult
	}{
		{"nothing asked", none, "/a/../b//c%2f?x", "", PathUnchanged},
		{"nothing to do", both, "/a/b.c/d?x=/../y", "", PathUnchanged},
		{"HC-90 a fragment is refused", fragment, "/a#b", "", PathRejected},
		{"HC-90 a fragment in the query is refused", fragment, "/a?b#c", "", PathRejected},
		{"HC-90 a fragment is cut off", none, "/a?b#c", "/a?b", PathChanged},
		{"HC-90 a fragment is cut off before the rest is done", normal, "/a/../b?c#/..", "/b?c", PathChanged},
		{"HC-90 of an asterisk only the fragment is looked at", both, "*", "", PathUnchanged},
		{"HC-90 an absolute target kept whole is left alone", both, "http://h//a/../b", "", PathUnchanged},
		{"HC-91 keep", normal, "/a%2Fb%5cc", "", PathUnchanged},
		{"HC-91 reject a slash", reject, "/a%2fb", "", PathRejected},
		{"HC-91 reject a backslash", reject, "/a%5Cb", "", PathRejected},
		{"HC-91 reject nothing in the query", reject, "/a?b%2f", "", PathUnchanged},
		{"HC-91 reject no other escape", reject, "/a%20b", "", PathUnchanged},
		{"HC-91 an escape of an escape is none", reject, "/a%252fb", "", PathUnchanged},
		{"HC-91 redirect to the whole result", redirect, "/a%2F../b?c%2f", "/b?c%2f", PathRedirect},
		{"HC-91 redirect only where there is one", redirect, "/a/../b", "/b", PathChanged},
		{"HC-91 forward", forward, "/a%2fb%5Cc?d%2f", "/a/b\\c?d%2f", PathChanged},
		{"HC-91 forward, then normalise and merge", forwardNormal, "/a%2f%2fb%5c..%2fc", "/a/c", PathChanged},
		{"HC-92 dot segments", normal, "/a/../b", "/b", PathChanged},
		{"HC-92 a dot segment at the end", normal, "/a/./b/.", "/a/b/", PathChanged},
		{"HC-92 two dots at the end", normal, "/a/b/..", "/a/", PathChanged},
		{"HC-92 the root stays the root", normal, "/../../a", "/a", PathChanged},
		{"HC-92 nothing is left", normal, "/a/..", "/", PathChanged},
		{"HC-92 unreserved characters", normal, "/%61%7E%2d%41?%61", "/a~-A?%61", PathChanged},
		{"HC-92 reserved characters stay as spelled", normal, "/%3f%3F%20%25", "", PathUnchanged},
		{"HC-92 encoded dots are dots", normal, "/a/%2e%2E/b", "/b", PathChanged},
		{"HC-92 decoding happens once", normal, "/%2561", "", PathUnchanged},
		{"HC-92 backslashes", normal, "/a\\..\\b", "/b", PathChanged},
		{"HC-92 backslashes of the query stay", normal, "/a?b\\c", "", PathUnchanged},
		{"HC-92 case is kept", normal, "/A/./B", "/A/B", PathChanged},
		{"HC-92 three dots are a name", normal, "/a/.../b", "", PathUnchanged},
		{"HC-92 a name with a dot first", normal, "/a/.b", "", PathUnchanged},
		{"HC-92 an encoded NUL cannot be", normal, "/a%00", "", PathRejected},
		{"HC-92 an escape that is none stays", normal, "/%zz%4", "", PathUnchanged},
		{"HC-92 empty segments count as segments", normal, "/a//../b", "/a/b", PathChanged},
		{"HC-93 runs of slashes", merge, "//a///b//?c//d", "/a/b/?c//d", PathChanged},
		{"HC-93 not without being asked", normal, "//a//b", "", PathUnchanged},
		{"HC-93 after normalisation", both, "/a//../..//b", "/b", PathChanged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			prefix := []byte("dst:")
			got, result := NormalizePath(prefix, exact(tt.in), &tt.o)
			if result != tt.result {
				t.Fatalf("result %d with %q, want %d", result, got, tt.result)
			}
			want := "dst:" + tt.want
			if string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// FuzzNormalizePath: a result needs no second pass, the query is never touched, and no dot segment or
// double slash is left where it should not be.
func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/a/../b?x", "/%2e%2e/%2f..//", "/a\\..\\", "//", "/%", "/%2", "/a%5c..%5cb#f", "/..%2f", "*"} {
		f.Add([]byte(s), uint8(0x0b))
		f.Add([]byte(s), uint8(0x1f))
	}
	f.Fuzz(func(t *testing.T, in []byte, flags uint8) {
		o := PathOptions{
			Normalize: flags&1 != 0, MergeSlashes: flags&2 != 0, RejectFragment: flags&4 != 0,
			EscapedSlashes: EscapedSlashAction(flags >> 3 & 3),
		}
		out, result := NormalizePath(nil, in, &o)
		if result == PathUnchanged || result == PathRejected {
			if len(out) != 0 {
				t.Fatalf("%q is left and yet there is %q", in, out)
			}
			return
		}
		if bytes.Equal(in, out) && result == PathChanged {
			t.Fatalf("%q is changed into itself", in)
		}
		cut, _, _ := bytes.Cut(in, []byte("#"))
		_, query, _ := bytes.Cut(cut, []byte("?"))
		path, gotQuery, _ := strings.Cut(string(out), "?")
		if gotQuery != string(query) {
			t.Fatalf("%q: the query became %q", in, gotQuery)
		}
		if !strings.HasPrefix(path, "/") {
			return
		}
		if o.Normalize && (strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") || strings.Contains(path, "\\")) {
			t.Fatalf("%q is not normal: %q", in, out)
		}
		if o.MergeSlashes && strings.Contains(path, "//") {
			t.Fatalf("%q is not merged: %q", in, out)
		}
		// Once unescaped, "%2%66" may read as an escape anew: only without that is it a fixed point.
		if again, r := NormalizePath(nil, out, &o); !strings.Contains(path, "%") && r != PathUnchanged {
			t.Fatalf("%q gives %q, and that %q (%d)", in, out, again, r)
		}
	})
}
