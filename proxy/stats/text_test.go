package stats

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
)

// sampleRegistry holds one series of each kind and one of each that was never used.
func sampleRegistry() *Registry {
	r := NewRegistry()
	s := r.NewShard()
	s.Add(r.Counter("cluster.c.upstream_rq_200"), 12)
	r.Counter("cluster.c.upstream_rq_retry")
	s.GaugeAdd(r.Gauge("http.in.downstream_cx_active"), 3)
	r.Gauge("http.in.unused")
	r.Text("control_plane.identifier").Set(`a "b"`)
	r.Text("cluster.c.version_text")
	h := r.Histogram("http.in.downstream_rq_time", UnitMilliseconds)
	s.Record(h, 10)
	r.Flush()
	s.Record(h, 20)
	r.Histogram("http.in.downstream_cx_length_ms", UnitMilliseconds)
	return r
}

func text(t *testing.T, write func(w *bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextOutput(t *testing.T) {
	r := sampleRegistry()
	const (
		texts   = "cluster.c.version_text: \"\"\ncontrol_plane.identifier: \"a \"b\"\"\n"
		numbers = "cluster.c.upstream_rq_200: 12\ncluster.c.upstream_rq_retry: 0\nhttp.in.downstream_cx_active: 3\nhttp.in.unused: 0\n"
		unused  = "http.in.downstream_cx_length_ms: No recorded values\n"
		summary = "http.in.downstream_rq_time: P0(10,10) P25(10,10) P50(10,10) P75(10,20) P90(10,20) P95(10,20) P99(10,20) P99.5(10,20) P99.9(10,20) P100(10,20)\n"
		buckets = "B0.5(0,0) B1(0,0) B5(0,0) B10(1,1) B25(%) B50(%) B100(%) B250(%) B500(%) B1000(%) B2500(%) B5000(%) B10000(%) B30000(%) B60000(%) B300000(%) B600000(%) B1800000(%) B3600000(%)\n"
	)
	for _, row := range []struct {
		title string
		o     Options
		want  string
	}{
		{"everything, kind by kind, sorted", Options{}, texts + numbers + unused + summary},
		{"usedonly", Options{UsedOnly: true}, "control_plane.identifier: \"a \"b\"\"\ncluster.c.upstream_rq_200: 12\nhttp.in.downstream_cx_active: 3\n" + summary},
		{"a filter matches anywhere in the name", Options{Filter: regexp.MustCompile("active|retry$")}, "cluster.c.upstream_rq_retry: 0\nhttp.in.downstream_cx_active: 3\n"},
		{"type=Counters", Options{Type: TypeCounters}, "cluster.c.upstream_rq_200: 12\ncluster.c.upstream_rq_retry: 0\n"},
		{"type=Gauges", Options{Type: TypeGauges}, "http.in.downstream_cx_active: 3\nhttp.in.unused: 0\n"},
		{"type=Histograms", Options{Type: TypeHistograms}, unused + summary},
		{"type=TextReadouts", Options{Type: TypeTextReadouts}, texts},
		{
			"histogram_buckets=cumulative",
			Options{Type: TypeHistograms, UsedOnly: true, Buckets: BucketsCumulative},
			"http.in.downstream_rq_time: " + strings.ReplaceAll(buckets, "%", "1,2"),
		},
		{
			"histogram_buckets=disjoint",
			Options{Type: TypeHistograms, UsedOnly: true, Buckets: BucketsDisjoint},
			"http.in.downstream_rq_time: " + strings.ReplaceAll(strings.Replace(buckets, "%", "0,1", 1), "%", "0,0"),
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			if got := text(t, func(w *bytes.Buffer) error { return r.WriteText(w, row.o) }); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

func TestAnEmptyIntervalReadsNan(t *testing.T) {
	r := NewRegistry()
	r.NewShard().Record(r.Histogram("h", UnitNone), 1)
	got := text(t, func(w *bytes.Buffer) error { return r.WriteText(w, Options{}) })
	want := "h: P0(nan,1) P25(nan,1) P50(nan,1) P75(nan,1) P90(nan,1) P95(nan,1) P99(nan,1) P99.5(nan,1) P99.9(nan,1) P100(nan,1)\n"
	if got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestJSONOutput(t *testing.T) {
	r := sampleRegistry()
	got := text(t, func(w *bytes.Buffer) error { return r.WriteJSON(w, Options{UsedOnly: true}) })
	pairs := strings.Repeat(`{"interval":10,"cumulative":10},`, 3) + strings.TrimSuffix(strings.Repeat(`{"interval":10,"cumulative":20},`, 7), ",")
	want := `{"stats":[{"name":"control_plane.identifier","value":"a \"b\""},` +
		`{"name":"cluster.c.upstream_rq_200","value":12},{"name":"http.in.downstream_cx_active","value":3},` +
		`{"histograms":{"supported_quantiles":[0,25,50,75,90,95,99,99.5,99.9,100],` +
		`"computed_quantiles":[{"name":"http.in.downstream_rq_time","values":[` + pairs + `]}]}}]}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, o := range []Options{{}, {Type: TypeHistograms}, {Type: TypeGauges}, {Buckets: BucketsDisjoint}, {Filter: regexp.MustCompile("^$")}} {
		got := text(t, func(w *bytes.Buffer) error { return r.WriteJSON(w, o) })
		if !json.Valid([]byte(got)) {
			t.Errorf("%+v is not JSON: %s", o, got)
		}
	}
	if got := text(t, func(w *bytes.Buffer) error { return NewRegistry().WriteJSON(w, Options{}) }); got != `{"stats":[]}` {
		t.Errorf("nothing at all reads %s", got)
	}
	got = text(t, func(w *bytes.Buffer) error {
		return r.WriteJSON(w, Options{Type: TypeHistograms, UsedOnly: true, Buckets: BucketsDisjoint})
	})
	if want := `{"stats":[{"histograms":[{"name":"http.in.downstream_rq_time","buckets":[{"upper_bound":0.5,"interval":0,"cumulative":0},`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want it to begin with %s", got, want)
	}
}

func TestUnusedHistogramsAreNullInJSON(t *testing.T) {
	r := NewRegistry()
	r.Histogram("h", UnitNone)
	got := text(t, func(w *bytes.Buffer) error { return r.WriteJSON(w, Options{}) })
	if n := strings.Count(got, `{"interval":null,"cumulative":null}`); n != len(supportedQuantiles) {
		t.Fatalf("%d nulls in %s", n, got)
	}
}

func TestParameterNames(t *testing.T) {
	for i, name := range []string{"All", "Counters", "Gauges", "Histograms", "TextReadouts"} {
		if got, ok := ParseType(name); !ok || got != Type(i) {
			t.Errorf("type=%s is %d, %v", name, got, ok)
		}
	}
	if _, ok := ParseType("counters"); ok {
		t.Error("type=counters is accepted")
	}
	for name, want := range map[string]Buckets{"summary": BucketsSummary, "cumulative": BucketsCumulative, "disjoint": BucketsDisjoint} {
		if got, ok := ParseBuckets(name); !ok || got != want {
			t.Errorf("histogram_buckets=%s is %d, %v", name, got, ok)
		}
	}
	if _, ok := ParseBuckets("none"); ok {
		t.Error("histogram_buckets=none is accepted")
	}
}

type brokenWriter struct{ after int }

var errBroken = errors.New("broken pipe")

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.after -= len(p); b.after < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestAFailingWriterIsReported(t *testing.T) {
	r := sampleRegistry()
	for name, write := range map[string]func(w *brokenWriter) error{
		"text":       func(w *brokenWriter) error { return r.WriteText(w, Options{}) },
		"JSON":       func(w *brokenWriter) error { return r.WriteJSON(w, Options{}) },
		"Prometheus": func(w *brokenWriter) error { return r.WritePrometheus(w, Options{}) },
		"summary":    func(w *brokenWriter) error { return r.WritePrometheus(w, Options{Buckets: BucketsSummary}) },
	} {
		if err := write(&brokenWriter{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
