package envoy

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

var rewrite = flag.Bool("rewrite", false, "write what the code does as what the tests want")

// fakeFormat stands for proxy/format: it knows that '%' comes in pairs.
func fakeFormat(text string) error {
	if strings.Count(text, "%")%2 != 0 {
		return errors.New("a '%' has no partner")
	}
	return nil
}

// TestBrokenConfigurations loads every file of testdata/broken. The first line of a file is the
// error it must give, all others are the configuration.
func TestBrokenConfigurations(t *testing.T) {
	files := testFiles(t, "testdata/broken/*", 400)
	inCertificates(t)
	t.Setenv("SLUICE_LONG_BODY", strings.Repeat("x", 4097))
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, text, _ := strings.Cut(string(data), "\n")
			want = strings.TrimPrefix(strings.TrimPrefix(want, "# "), "// ")
			_, err = Load(Source{Path: filepath.Base(path), Data: []byte("\n" + text), CheckFormat: fakeFormat})
			if err == nil {
				t.Fatal("loads")
			}
			got, _, _ := strings.Cut(err.Error(), "\n")
			if *rewrite && got != want {
				comment := "# "
				if filepath.Ext(path) == ".json" {
					comment = "// "
				}
				if err := os.WriteFile(path, []byte(comment+got+"\n"+text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			inSecrets := strings.HasPrefix(got, "certs/") && strings.Contains(text, got[:strings.IndexByte(got, ':')])
			if strings.ContainsAny(got, "\r\t") || !strings.HasPrefix(got, filepath.Base(path)+":") && !inSecrets {
				t.Errorf("not an error line: %q", got)
			}
		})
	}
}

// TestFieldGroups loads every configuration of testdata/fields. What differs from the compiled form
// of plain.yaml (tcp_plain.yaml when the name begins with tcp_), line by line, is in the .txt file
// beside it, with the warnings.
func TestFieldGroups(t *testing.T) {
	t.Setenv("SLUICE_BODY", "from the environment")
	files := testFiles(t, "testdata/fields/*.yaml", 70)
	inCertificates(t)
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			plain := "plain"
			if strings.HasPrefix(name, "tcp_") || strings.HasPrefix(name, "generic_") {
				plain = "tcp_plain"
			}
			base := dump(loadFields(t, filepath.Join(filepath.Dir(path), plain+".yaml")).Conf)
			r := loadFields(t, path)
			mine := dump(r.Conf)
			var b strings.Builder
			if name == plain {
				base = ""
			}
			onlyIn(&b, "", mine, base)
			onlyIn(&b, "without ", base, mine)
			for _, w := range r.Warnings {
				b.WriteString("warning " + w + "\n")
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", b.String())
		})
	}
}

// testFiles returns the whole paths of at least so many files.
func testFiles(t testing.TB, pattern string, atLeast int) []string {
	t.Helper()
	pattern, err := filepath.Abs(pattern)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) < atLeast {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// onlyIn writes the lines of text that other has not, each after prefix.
func onlyIn(b *strings.Builder, prefix, text, other string) {
	has := map[string]bool{}
	for line := range strings.Lines(other) {
		has[line] = true
	}
	for line := range strings.Lines(text) {
		if !has[line] {
			b.WriteString(prefix + line)
		}
	}
}

func loadFields(t *testing.T, path string) *Result {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Load(Source{Path: filepath.Base(path), Data: data, CheckFormat: fakeFormat})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// dump writes every field that is not zero as one line "path = value". Raw is left out: it has a
// test of its own.
func dump(c *conf.Bootstrap) string {
	var b strings.Builder
	dumpValue(&b, "", reflect.ValueOf(c))
	return b.String()
}

func dumpValue(b *strings.Builder, path string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	switch x := v.Interface().(type) {
	case time.Duration, netip.AddrPort, netip.Prefix, netip.Addr:
		fmt.Fprintf(b, "%s = %v\n", path, x)
		return
	case [32]byte:
		fmt.Fprintf(b, "%s = %x\n", path, x)
		return
	case []byte:
		fmt.Fprintf(b, "%s = %q\n", path, x)
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.Kind() == reflect.Pointer && v.Elem().IsZero() {
			fmt.Fprintf(b, "%s = set\n", path)
		}
		dumpValue(b, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "Raw" {
				continue
			}
			dumpValue(b, strings.TrimPrefix(path+"."+f.Name, "."), v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			dumpValue(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			dumpValue(b, fmt.Sprintf("%s[%v]", path, k), v.MapIndex(k))
		}
	case reflect.String:
		fmt.Fprintf(b, "%s = %q\n", path, v.String())
	default:
		fmt.Fprintf(b, "%s = %v\n", path, v)
	}
}
