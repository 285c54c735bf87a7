package runtime

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func static(name string, pairs ...string) conf.RuntimeLayer {
	l := conf.RuntimeLayer{Name: name, Values: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		l.Values[pairs[i]] = pairs[i+1]
	}
	return l
}

func TestOP31ValuesOfTexts(t *testing.T) {
	for _, row := range []struct {
		text string
		u    uint64
		f    float64
		b    bool
		frac conf.Fraction
	}{
		{"", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"0", 0, 0, true, conf.Fraction{Denominator: 100}},
		{"12", 12, 12, true, conf.Fraction{Numerator: 12, Denominator: 100}},
		{"12.9", 12, 12.9, true, conf.Fraction{Numerator: 12, Denominator: 100}},
		{"-3", 7, -3, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"NaN", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"1e30", 7, 1e30, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"150", 150, 150, true, conf.Fraction{Numerator: 150, Denominator: 100}},
		{"99999999999", 99999999999, 99999999999, true, conf.Fraction{Numerator: math.MaxUint32, Denominator: 100}},
		{"true", 7, 7.5, true, conf.Fraction{Numerator: 100, Denominator: 100}},
		{"False", 7, 7.5, false, conf.Fraction{Denominator: 100}},
		{`{"numerator":5}`, 7, 7.5, true, conf.Fraction{Numerator: 5, Denominator: 100}},
		{`{"denominator":"TEN_THOUSAND","numerator":5}`, 7, 7.5, true, conf.Fraction{Numerator: 5, Denominator: 10_000}},
		{"{numerator: 5, denominator: MILLION}", 7, 7.5, true, conf.Fraction{Numerator: 5, Denominator: 1_000_000}},
		{"numerator: 5\ndenominator: 'HUNDRED'\n", 7, 7.5, true, conf.Fraction{Numerator: 5, Denominator: 100}},
		{"{numerator: 5, denominator: TEN}", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"{numerator: -5}", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"{numerator: 5", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"{other: 5}", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"{}", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
		{"words", 7, 7.5, true, conf.Fraction{Numerator: 7, Denominator: 1000}},
	} {
		t.Run(row.text, func(t *testing.T) {
			l := New(nil, nil)
			l.Apply([]conf.RuntimeLayer{static("s", "k", row.text)}, "")
			u, f, b := l.Uint("k", 7).Load(), l.Float("k", 7.5).Load(), l.Bool("k", true).Load()
			frac := l.Fraction("k", conf.Fraction{Numerator: 7, Denominator: 1000}).Percent()
			if u != row.u || f != row.f || b != row.b || frac != row.frac {
				t.Errorf("%d %v %v %v, want %d %v %v %v", u, f, b, frac, row.u, row.f, row.b, row.frac)
			}
		})
	}
}

func TestAMB18OP34AFractionHoldsBelowItsNumerator(t *testing.T) {
	f := New(nil, nil).Fraction("", conf.Fraction{Numerator: 30})
	for r := range uint64(1000) {
		if got, want := f.Enabled(r), r%100 < 30; got != want {
			t.Fatalf("%d: %v", r, got)
		}
	}
	if f = New(nil, nil).Fraction("", conf.Fraction{}); f.Enabled(0) {
		t.Error("a fraction of nothing holds")
	}
}

func TestANilLoaderHasDefaults(t *testing.T) {
	var l *Loader
	if l.Uint("k", 3).Load() != 3 || l.Float("k", 1.5).Load() != 1.5 || !l.Bool("k", true).Load() || !l.Fraction("k", conf.Fraction{Numerator: 1, Denominator: 1}).Enabled(9) {
		t.Error("not the default")
	}
	if _, ok := l.Get("k"); ok {
		t.Error("a value")
	}
	l.Close()
}

func TestOP30LaterLayersOverrideAndHandlesFollow(t *testing.T) {
	r := stats.NewRegistry()
	l := New(r, nil)
	a, b := l.Uint("a", 1), l.Uint("b", 1)
	want := func(wa, wb uint64) {
		t.Helper()
		if a.Load() != wa || b.Load() != wb {
			t.Errorf("a %d b %d, want %d %d", a.Load(), b.Load(), wa, wb)
		}
	}
	want(1, 1)
	admin := conf.RuntimeLayer{Name: "hand", Admin: true}
	l.Apply([]conf.RuntimeLayer{static("s", "a", "2", "b", "2"), admin, static("t", "b", "3")}, "")
	want(2, 3)
	if err := l.Modify(map[string]string{"a": "4", "b": "4", "c": "x"}); err != nil {
		t.Fatal(err)
	}
	want(4, 3)
	if got := fmt.Sprint(l.Snapshot().Layers, l.Snapshot().Values); got != "[{s map[a:2 b:2]} {hand map[a:4 b:4 c:x]} {t map[b:3]}] map[a:4 b:3 c:x]" {
		t.Error(got)
	}
	if err := l.Modify(map[string]string{"a": "", "nothing": ""}); err != nil {
		t.Fatal(err)
	}
	want(2, 3)
	l.Apply([]conf.RuntimeLayer{static("s", "a", "2"), admin}, "")
	want(2, 4) // what was modified stays
	l.Apply(nil, "")
	want(1, 4) // the implicit admin layer
	if got := value(r, "runtime.num_keys"); got != 2 {
		t.Errorf("num_keys %d", got)
	}
	if got := value(r, "runtime.admin_overrides_active"); got != 2 {
		t.Errorf("admin_overrides_active %d", got)
	}
	l.Apply([]conf.RuntimeLayer{static("s")}, "")
	want(1, 1)
	if err := l.Modify(map[string]string{"a": "1"}); !errors.Is(err, ErrNoAdminLayer) {
		t.Errorf("%v", err)
	}
	for name, want := range map[string]int64{"num_layers": 1, "num_keys": 0, "admin_overrides_active": 0, "load_success": 6, "load_error": 0, "override_dir_not_exists": 6, "override_dir_exists": 0} {
		if got := value(r, "runtime."+name); got != want {
			t.Errorf("%s %d, want %d", name, got, want)
		}
	}
}

func value(r *stats.Registry, name string) int64 {
	var b strings.Builder
	if err := r.WriteText(&b, stats.Options{}); err != nil {
		return -1
	}
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return -1
}

func TestTheAdminLayerIsBounded(t *testing.T) {
	l := New(nil, nil)
	l.Apply(nil, "")
	if err := l.Modify(map[string]string{"a": strings.Repeat("x", maxOverrideBytes+1), "b": "1"}); err == nil || len(l.Snapshot().Values) != 0 {
		t.Errorf("%v, %v", err, l.Snapshot().Values)
	}
	many := map[string]string{}
	for i := range maxOverrides {
		many[fmt.Sprint(i)] = "1"
	}
	if err := l.Modify(many); err != nil {
		t.Fatal(err)
	}
	if err := l.Modify(map[string]string{"one": "more"}); err == nil || len(l.Snapshot().Values) != maxOverrides {
		t.Errorf("%v, %d values", err, len(l.Snapshot().Values))
	}
}

func TestHandlesEndWithTheirConfiguration(t *testing.T) {
	l := New(nil, nil)
	l.Apply(nil, "")
	kept := l.Uint("kept", 1)
	for range 20 {
		for range 1000 {
			l.Uint("k", 1)
		}
		goruntime.GC()
	}
	if n := len(l.handles); n > 4096 {
		t.Errorf("%d handles are remembered", n)
	}
	if err := l.Modify(map[string]string{"kept": "5"}); err != nil || kept.Load() != 5 {
		t.Errorf("%d, %v", kept.Load(), err)
	}
	goruntime.KeepAlive(kept)
}

func TestReadingAHandleAllocatesNothing(t *testing.T) {
	l := New(nil, nil)
	u, f := l.Uint("k", 1), l.Fraction("k", conf.Fraction{Numerator: 1})
	if n := testing.AllocsPerRun(100, func() { u.Load(); f.Enabled(3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestOP32DiskLayersFollowTheLink(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "current")
	write(t, filepath.Join(dir, "v1/envoy/health_check/min_interval"), "# a comment\n 5 \n#more\n")
	write(t, filepath.Join(dir, "v1/envoy/.hidden/x"), "5")
	write(t, filepath.Join(dir, "v1/envoy/share"), "numerator: 3\n# of\ndenominator: MILLION\n")
	write(t, filepath.Join(dir, "v1/override/edge/health_check/min_interval"), "6.7")
	write(t, filepath.Join(dir, "v2/envoy/health_check/min_interval"), "8")
	link(t, "v1", root)
	r := stats.NewRegistry()
	l := New(r, nil)
	defer l.Close()
	layers := []conf.RuntimeLayer{
		{Name: "root", Disk: &conf.RuntimeDisk{SymlinkRoot: root, Subdirectory: "envoy"}},
		{Name: "override", Disk: &conf.RuntimeDisk{SymlinkRoot: root, Subdirectory: "override", AppendServiceCluster: true}},
		{Name: "admin", Admin: true},
	}
	h, share := l.Uint("health_check.min_interval", 1), l.Fraction("share", conf.Fraction{})
	l.Apply(layers, "edge")
	if h.Load() != 6 || share.Percent() != (conf.Fraction{Numerator: 3, Denominator: 1_000_000}) {
		t.Errorf("%d, %v", h.Load(), share.Percent())
	}
	want := []Layer{
		{"root", map[string]string{"health_check.min_interval": "5", "share": "numerator: 3\ndenominator: MILLION"}},
		{"override", map[string]string{"health_check.min_interval": "6.7"}}, {"admin", map[string]string{}},
	}
	if got := l.Snapshot().Layers; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if value(r, "runtime.override_dir_exists") != 1 || value(r, "runtime.override_dir_not_exists") != 0 || value(r, "runtime.num_layers") != 3 {
		t.Error("the override directory is not counted")
	}
	link(t, "v2", root)
	await(t, "the swap of the link was not seen", func() bool { return h.Load() == 8 })
	if value(r, "runtime.num_layers") != 2 || value(r, "runtime.override_dir_not_exists") != 1 {
		t.Error("the override directory is there no more and still counted")
	}
	l.Apply(layers, "other")
	if h.Load() != 8 {
		t.Error(h.Load())
	}
	// A directory that cannot be read changes nothing, and is counted.
	deep := filepath.Join(dir, "v3/envoy")
	for range maxDepth + 1 {
		deep = filepath.Join(deep, "d")
	}
	write(t, filepath.Join(deep, "k"), "1")
	link(t, "v3", root)
	await(t, "the error is not counted", func() bool { return value(r, "runtime.load_error") == 1 })
	if h.Load() != 8 {
		t.Errorf("%d after a load that failed", h.Load())
	}
	link(t, "gone", root)
	await(t, "values outlive the directory", func() bool { return h.Load() == 1 })
}

func TestDiskLayersAreBounded(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "k"), strings.Repeat("x", maxFileBytes))
	if _, err := readDisk(dir); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "k"), strings.Repeat("x", maxFileBytes+1))
	if _, err := readDisk(dir); err == nil {
		t.Error("a file of any size is read")
	}
	if err := os.Remove(filepath.Join(dir, "k")); err != nil {
		t.Fatal(err)
	}
	link(t, ".", filepath.Join(dir, "loop"))
	if _, err := readDisk(dir); err == nil {
		t.Error("a link that leads back is followed for ever")
	}
}

func FuzzParseFraction(f *testing.F) {
	for _, s := range []string{"", "5", "{numerator: 5, denominator: MILLION}", "numerator: 1\ndenominator: 0", "true", "{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := ParseFraction(s)
		if ok && v.Denominator != 100 && v.Denominator != 10_000 && v.Denominator != 1_000_000 {
			t.Errorf("%q: %v", s, v)
		}
	})
}
