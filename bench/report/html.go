package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// Sizes of a chart, in SVG units.
const (
	chartWidth  = 760
	labelWidth  = 90
	textWidth   = 170 // room at the right end of the longest bar
	barHeight   = 22
	barPitch    = 30
	latencyLow  = 10e3 // 10 us and
	latencyHigh = 10e9 // 10 s bound the axis of latencies, which is logarithmic
)

// WriteHTML writes the report as one page that needs nothing else: style and charts are inside.
func (r *Report) WriteHTML(w io.Writer) error {
	v := pageView{Report: r, Line: r.MachineLine()}
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		rows := s.Rows(r.Subject)
		sv := scenarioView{Scenario: s, Costs: costChart(s.Metric, rows, r.Subject)}
		if s.Metric.OfLoad() {
			sv.Latencies = latencyChart(rows, r.Subject)
		}
		sv.Head, sv.Cells = columns(s.Metric, rows)
		for _, verdict := range s.Verdicts(r.Subject) {
			sv.Verdicts = append(sv.Verdicts, verdictView{
				Text:  verdict.String(),
				Class: [...]string{NotMeasured: "unknown", Met: "met", Missed: "missed"}[verdict.Outcome],
			})
		}
		v.Scenarios = append(v.Scenarios, sv)
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	return nil
}

type pageView struct {
	*Report
	Line      string
	Scenarios []scenarioView
}

type scenarioView struct {
	*Scenario
	Costs, Latencies *chart
	Head             []string
	Cells            [][]string
	Verdicts         []verdictView
}

type verdictView struct{ Text, Class string }

// chart is a drawing of bars or marks, one line for each proxy.
type chart struct {
	Title         string
	Width, Height int // Height without the title
	Top           int // room above the first line, for the title and the ticks
	LabelX        int
	Lines         []chartLine
	Ticks         []chartTick
}

type chartLine struct {
	Label, Text, Class string
	X, Y, TextX, TextY float64
	Width              float64 // of the bar, or of the line from p50 to p99
	Height             float64
	MidY, EndX         float64
}

type chartTick struct {
	X     float64
	Label string
}

// FullHeight is that of the whole drawing, which begins at -Top.
func (c *chart) FullHeight() int { return c.Height + c.Top }

// TitleY is where the title stands.
func (c *chart) TitleY() int { return 14 - c.Top }

func newChart(title string, lines int) *chart {
	return &chart{Title: title, Width: chartWidth, Height: lines * barPitch, Top: 26, LabelX: labelWidth - 8}
}

// costChart draws one bar for each proxy, labelled with its cost and its ratio to the best peer.
func costChart(m Metric, rows []Row, subject string) *chart {
	if len(rows) == 0 {
		return nil
	}
	most := 0.0
	for i := range rows {
		most = max(most, rows[i].Cost)
	}
	c := newChart(m.Label()+", less is better", len(rows))
	for i := range rows {
		r := &rows[i]
		l := line(i, r, subject)
		if most > 0 {
			l.Width = max(1, r.Cost/most*(chartWidth-labelWidth-textWidth))
		}
		l.EndX = l.X + l.Width
		l.TextX = l.EndX + 8
		l.Text = m.Format(r.Cost)
		if r.Ratio > 0 {
			l.Text += fmt.Sprintf("  (%.2f x)", r.Ratio)
		}
		c.Lines = append(c.Lines, l)
	}
	return c
}

// latencyChart draws p50 to p99 of each proxy on a logarithmic axis.
func latencyChart(rows []Row, subject string) *chart {
	if len(rows) == 0 {
		return nil
	}
	c := newChart("latency, p50 to p99", len(rows))
	for i := range rows {
		r := &rows[i]
		l := line(i, r, subject)
		l.X = latencyX(float64(r.P50))
		l.EndX = latencyX(float64(r.P99))
		l.Width = l.EndX - l.X
		l.TextX = l.EndX + 10
		l.Text = Short(r.P50) + " - " + Short(r.P99)
		c.Lines = append(c.Lines, l)
	}
	c.Top += 20
	for ns, label := 10e3, 0; ns <= latencyHigh; ns, label = ns*10, label+1 {
		names := [...]string{"10us", "100us", "1ms", "10ms", "100ms", "1s", "10s"}
		c.Ticks = append(c.Ticks, chartTick{X: latencyX(ns), Label: names[label]})
	}
	return c
}

func latencyX(ns float64) float64 {
	ns = min(max(ns, latencyLow), latencyHigh)
	share := math.Log(ns/latencyLow) / math.Log(latencyHigh/latencyLow)
	return labelWidth + share*(chartWidth-labelWidth-textWidth)
}

func line(i int, r *Row, subject string) chartLine {
	y := float64(i * barPitch)
	l := chartLine{Label: r.Peer, Class: "peer", X: labelWidth, Y: y, Height: barHeight, MidY: y + barHeight/2, TextY: y + 15}
	if r.Peer == subject {
		l.Class = "subject"
	}
	return l
}
