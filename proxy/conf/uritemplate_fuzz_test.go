package conf

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzURITemplate: what is accepted is an expression with a group for each variable, a path made by putting
// texts in the place of the operators matches it, and a rewrite of all variables gives a path.
func FuzzURITemplate(f *testing.F) {
	for _, s := range []string{"/a/{b}/*", "/{a=x/*}/{b=**}", "/**.mpd", "/v{v}.json", "/a$b", "/{a}{b}", "/\\Q"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := ParseURITemplate(text)
		if err != nil {
			return
		}
		r, err := regexp.Compile(`\A(?:` + tmpl.Expression + `)\z`)
		if err != nil || r.NumSubexp() != len(tmpl.Variables) {
			t.Fatalf("%q gives %q: %v", text, tmpl.Expression, err)
		}
		rewrite := "/"
		for _, v := range tmpl.Variables {
			rewrite += "{" + v + "}/"
		}
		by, err := tmpl.Rewrite(rewrite)
		if err != nil {
			t.Fatalf("%q: %v", rewrite, err)
		}
		path := regexp.MustCompile(`\{[^=}]*\}`).ReplaceAllString(text, "x")
		path = regexp.MustCompile(`\{[^=]*=`).ReplaceAllString(path, "")
		path = strings.NewReplacer("}", "", "**", "y/z", "*", "w").Replace(path)
		m := r.FindStringSubmatchIndex(path)
		if m == nil {
			t.Fatalf("%q does not match %q, made of %q", path, tmpl.Expression, text)
		}
		if out := string(r.ExpandString(nil, by, path, m)); out == "" || out[0] != '/' {
			t.Fatalf("%q gives %q", by, out)
		}
	})
}
