package envoy

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// checkLoad loads data and holds the result to what is true of every text: it loads, and then what it
// prints as its own JSON loads again and prints the same; or it gives errors, each one line with a
// place inside the text, in order.
func checkLoad(t interface {
	Helper()
	Fatalf(string, ...any)
}, path string, data []byte,
) {
	t.Helper()
	r, err := Load(Source{Path: path, Data: data, CheckFormat: fakeFormat})
	if err != nil {
		checkErrors(t, path, data, err)
		return
	}
	again, err := Load(Source{Path: "raw.json", Data: r.Conf.Raw, CheckFormat: fakeFormat})
	if err != nil {
		t.Fatalf("what was printed does not load: %v\n%s\nfrom\n%s", err, r.Conf.Raw, data)
		return
	}
	if !bytes.Equal(again.Conf.Raw, r.Conf.Raw) {
		t.Fatalf("printed\n%s\nthen\n%s", r.Conf.Raw, again.Conf.Raw)
	}
}

func checkErrors(t interface {
	Helper()
	Fatalf(string, ...any)
}, path string, data []byte, err error,
) {
	t.Helper()
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	lines, line, col := 2, 0, 0
	for _, r := range string(data) {
		if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) { // what YAML 1.1 ends lines with
			lines++
		}
	}
	for _, one := range list {
		var e *Error
		switch {
		case !errors.As(one, &e):
			t.Fatalf("not an Error: %v", one)
		case strings.ContainsAny(one.Error(), "\n\r") || !strings.HasPrefix(one.Error(), e.File+":"):
			t.Fatalf("not an error line: %q", one)
		case e.File != path && strings.Contains(string(data), e.File):
			continue // a file of secrets that the text names
		case e.File != path:
			t.Fatalf("not an error of the text: %v", one)
		case e.Line < 1 || e.Line > lines || e.Col < 1:
			t.Fatalf("not inside the text: %v", one)
		case e.Line < line || e.Line == line && e.Col < col:
			t.Fatalf("not in order: %v", err)
		}
		line, col = e.Line, e.Col
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/fields/*.yaml", "testdata/broken/*"} {
		files, err := filepath.Glob(dir)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", dir, err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if filepath.Ext(path) == ".json" {
				_, data, _ = bytes.Cut(data, []byte("\n"))
			}
			f.Add(data, filepath.Ext(path) == ".json")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		path := "f.yaml"
		if asJSON {
			path = "f.json"
		}
		checkLoad(t, path, data)
	})
}

// TestChangedConfigurations changes configurations that load in random places: whatever comes of it
// loads or is refused, and nothing panics.
func TestChangedConfigurations(t *testing.T) {
	files := testFiles(t, "testdata/fields/*.yaml", 70)
	inCertificates(t)
	var texts [][]string
	var words []string
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(data), "\n")
		texts = append(texts, lines)
		for _, line := range lines {
			words = append(words, strings.Fields(line)...)
		}
	}
	words = append(words, "", "~", "null", "on", "-1", "0", "00", "1e400", "4294967296", "{}", "[]", "[[]]", "{a: b}", "*x", "&x", "<<:", "!!str", "'", "\"", "@type:", "\x00", "é", "-9223372036854775808", "99999999999999999999s")
	loaded := 0
	rapid.Check(t, func(t *rapid.T) {
		lines := append([]string(nil), rapid.SampledFrom(texts).Draw(t, "text")...)
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
			fields := strings.Fields(lines[i])
			indent := lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " "))]
			switch rapid.IntRange(0, 4).Draw(t, "change") {
			case 0:
				lines[i] = ""
			case 1:
				lines[i] += "\n" + lines[i]
			case 2:
				j := rapid.IntRange(0, len(lines)-1).Draw(t, "other")
				lines[i], lines[j] = lines[j], lines[i]
			case 3:
				if len(fields) > 0 {
					fields[rapid.IntRange(0, len(fields)-1).Draw(t, "word")] = rapid.SampledFrom(words).Draw(t, "new")
				}
				lines[i] = indent + strings.Join(fields, " ")
			case 4:
				lines[i] = indent + lines[i]
			}
		}
		text := strings.Join(lines, "\n")
		if !utf8.ValidString(text) {
			t.Skip()
		}
		if _, err := Load(Source{Data: []byte(text)}); err == nil {
			loaded++
		}
		checkLoad(t, "f.yaml", []byte(text))
	})
	if loaded == 0 {
		t.Error("nothing that was changed loads: the test tries only syntax")
	}
}
