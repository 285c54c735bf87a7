package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// three rounds in which the machine gets slower: the ratio within each round is what counts.
func sampleReport() *Report {
	mallocs := 0.015
	s := Scenario{
		Name: "h1-64", Title: "small <responses>", Metric: CPUPerRequest, Load: "own",
		Refused: []Refusal{{"h2o", "h2o is not installed: apt-get install h2o"}},
		Budgets: []Budget{
			{Against: "best", Max: 0.80},
			{Against: "nginx", Max: 0.60},
			{Against: "haproxy", Max: 1},
			{Max: 9},
			{Max: 0.02, Of: "mallocs"},
			{Against: "h2o", Max: 1},
		},
	}
	for round, slow := range []float64{1, 1.5, 2} {
		for _, p := range []struct {
			name string
			cost float64
		}{{"sluice", 8}, {"nginx", 12}, {"haproxy", 10}} {
			m := Sample{
				Peer: p.name, Round: round + 1, Cost: p.cost * slow, Requests: 1000, PerSecond: 1e6 / (p.cost * slow),
				P50Ns: 500_000, P99Ns: 2_500_000, RSS: 20 << 20, ProxyBusy: 0.99, LoadBusy: 0.5, OriginBusy: 0.3, SoftirqBusy: 0.2,
			}
			if p.name == "sluice" {
				m.MallocsPerRequest = &mallocs
			}
			s.Samples = append(s.Samples, m)
		}
	}
	return &Report{
		Subject: "sluice", Profile: "quick", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Machine:   Machine{Kernel: "Linux 6", CPU: "a CPU", CPUs: 2, Go: "go1.26", Versions: []Version{{"nginx", "1.22"}}, Command: "bench --only h1-64"},
		Scenarios: []Scenario{s},
		Notes:     []string{"a note"},
	}
}

// TestTheBestPeerIsOneOfTheRun: proxies that all cost 10 most of the time are equal, although some other is quick
// in each round.
func TestTheBestPeerIsOneOfTheRun(t *testing.T) {
	var s Scenario
	for round := range 9 {
		for i, name := range []string{"sluice", "nginx", "haproxy"} {
			cost := 10.0
			if round%3 == i {
				cost = 5
			}
			s.Samples = append(s.Samples, Sample{Peer: name, Round: round + 1, Cost: cost})
		}
	}
	for _, r := range s.Rows("sluice") {
		if !near(r.Ratio, 1) {
			t.Errorf("%s: ratio %v", r.Peer, r.Ratio)
		}
	}
}

func TestRatiosAreMediansWithinRounds(t *testing.T) {
	rows := sampleReport().Scenarios[0].Rows("sluice")
	want := map[string]struct{ cost, spread, ratio float64 }{
		"sluice":  {12, 8.0 / 12, 0.8},
		"nginx":   {18, 12.0 / 18, 1.2},
		"haproxy": {15, 10.0 / 15, 1},
	}
	for _, r := range rows {
		w := want[r.Peer]
		if !near(r.Cost, w.cost) || !near(r.Spread, w.spread) || !near(r.Ratio, w.ratio) || r.Best != (r.Peer == "sluice") {
			t.Errorf("%s: cost %v, spread %v, ratio %v, best %t; want %v", r.Peer, r.Cost, r.Spread, r.Ratio, r.Best, w)
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d rows", len(rows))
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
	} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	r := sampleReport()
	var got []string
	for _, v := range r.Scenarios[0].Verdicts("sluice") {
		got = append(got, v.String())
	}
	want := []string{
		"met (0.80 <= 0.80 of the best peer)",
		"missed by 11 % (0.67 > 0.60 of nginx)",
		"met (0.80 <= 1.00 of haproxy)",
		"missed by 33 % (12.00 > 9.00 CPU us/request)",
		"met (0.015 <= 0.020 mallocs/request)",
		"not measured (target 1.00 of h2o)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Missed() != 2 {
		t.Errorf("%d missed", r.Missed())
	}
}

func TestFailedRequestsMissEveryTarget(t *testing.T) {
	r := sampleReport()
	s := &r.Scenarios[0]
	s.Samples[0].Errors, s.Samples[0].ErrorText = 1, "status 1"
	for _, v := range s.Verdicts("sluice") {
		if v.Outcome == Met {
			t.Errorf("%s, though a request failed", v)
		}
		if v.Outcome == Missed && v.Value <= v.Budget.Max && !strings.Contains(v.String(), "failed requests") {
			t.Errorf("%q does not say why", v)
		}
	}
}

func TestTable(t *testing.T) {
	want := `Linux 6; a CPU x 2; go1.26; nginx 1.22
quick profile, 2026-01-02T03:04:05Z: bench --only h1-64

h1-64: small <responses> (load: own)
           CPU us/request  spread  x best peer  requests/s    p50     p99  RSS MiB  proxy busy  load busy  origin busy  softirq  mallocs/request
   sluice           12.00     67%         0.80       83333  500us  2.50ms     20.0         99%        50%          30%      20%            0.015
    nginx           18.00     67%         1.20       55556  500us  2.50ms     20.0         99%        50%          30%      20%                -
  haproxy           15.00     67%         1.00       66667  500us  2.50ms     20.0         99%        50%          30%      20%                -
  h2o is not in this table: h2o is not installed: apt-get install h2o
  target: met (0.80 <= 0.80 of the best peer)
  target: missed by 11 % (0.67 > 0.60 of nginx)
  target: met (0.80 <= 1.00 of haproxy)
  target: missed by 33 % (12.00 > 9.00 CPU us/request)
  target: met (0.015 <= 0.020 mallocs/request)
  target: not measured (target 1.00 of h2o)

note: a note
`
	var b strings.Builder
	if err := sampleReport().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestJSONGivesTheSameReportBack(t *testing.T) {
	r := sampleReport()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Error(d)
	}
	if _, err := ReadJSON(strings.NewReader("[")); err == nil {
		t.Error("nonsense was read")
	}
}

func TestPageIsSelfContainedAndEscaped(t *testing.T) {
	var b strings.Builder
	if err := sampleReport().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"http:", "https:", "src=", "url(", "@import", "ZgotmplZ", "small <responses>", "NaN", "Inf"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, tag := range []string{"svg", "section", "table", "tr", "text", "p"} {
		if open, ended := strings.Count(page, "<"+tag+" ")+strings.Count(page, "<"+tag+">"), strings.Count(page, "</"+tag+">"); open != ended {
			t.Errorf("%d <%s> and %d </%s>", open, tag, ended, tag)
		}
	}
	for want, n := range map[string]int{
		"<rect ": 3, "<circle ": 6, `<rect class="subject"`: 1, "(0.80 x)": 1, "small &lt;responses&gt;": 1,
		`class="verdict met"`: 3, `class="verdict missed"`: 2, `class="verdict unknown"`: 1,
	} {
		if got := strings.Count(page, want); got != n {
			t.Errorf("%q occurs %d times, want %d", want, got, n)
		}
	}
}

func TestChartsStayInsideTheirWidth(t *testing.T) {
	rows := []Row{{Peer: "a", Cost: 1, P50: 1, P99: time.Hour}, {Peer: "b", Cost: 1e9, P50: time.Second, P99: time.Second}, {Peer: "c"}}
	for _, c := range []*chart{costChart(CPUPerRequest, rows, "a"), latencyChart(rows, "a")} {
		for _, l := range c.Lines {
			if l.X < labelWidth || l.Width < 0 || l.EndX > chartWidth-textWidth || l.Y+l.Height > float64(c.Height) {
				t.Errorf("%s: %s from %v to %v", c.Title, l.Label, l.X, l.EndX)
			}
		}
	}
	if costChart(CPUPerRequest, nil, "a") != nil || latencyChart(nil, "a") != nil {
		t.Error("a chart without rows")
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500: "1.5us", 15 * time.Microsecond: "15us", 1500 * time.Microsecond: "1.50ms",
		15 * time.Millisecond: "15ms", 1500 * time.Millisecond: "1.50s",
	} {
		if got := Short(d); got != want {
			t.Errorf("%d ns: %s, want %s", d, got, want)
		}
	}
}

func TestParseBudgets(t *testing.T) {
	if b, err := Budgets(); err != nil || len(b) == 0 {
		t.Errorf("the project's own budgets: %d (%v)", len(b), err)
	}
	for name, text := range map[string]string{
		"not JSON":                "{",
		"unknown field":           `{"a": [{"maximum": 1}]}`,
		"no limit":                `{"a": [{"against": "best"}]}`,
		"unknown quantity":        `{"a": [{"of": "smiles", "max": 1}]}`,
		"mallocs against someone": `{"a": [{"of": "mallocs", "against": "best", "max": 1}]}`,
	} {
		if _, err := ParseBudgets([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
