package stats

import (
	"encoding/json"
	"io"
	"math"
	"regexp"
	"strconv"

	"github.com/valyala/bytebufferpool"
)

// Type selects kinds of series (the admin's type parameter).
type Type uint8

// Kinds of series.
const (
	TypeAll Type = iota
	TypeCounters
	TypeGauges
	TypeHistograms
	TypeTextReadouts
)

var typeNames = [...]string{"All", "Counters", "Gauges", "Histograms", "TextReadouts"}

// ParseType returns the Type with that name; ok is false for an unknown one.
func ParseType(name string) (t Type, ok bool) {
	for i, n := range typeNames {
		if n == name {
			return Type(i), true
		}
	}
	return 0, false
}

// Buckets is how histograms are written (the admin's histogram_buckets parameter).
type Buckets uint8

// Histogram forms. The default is quantiles in text and JSON, cumulative buckets for Prometheus.
const (
	BucketsDefault Buckets = iota
	BucketsSummary
	BucketsCumulative
	BucketsDisjoint
)

// ParseBuckets returns the form with that name, in lower case; ok is false for an unknown one.
func ParseBuckets(name string) (b Buckets, ok bool) {
	switch name {
	case "summary":
		return BucketsSummary, true
	case "cumulative":
		return BucketsCumulative, true
	case "disjoint":
		return BucketsDisjoint, true
	}
	return 0, false
}

// Options narrows an output. The zero value is everything.
type Options struct {
	UsedOnly bool
	Filter   *regexp.Regexp // of names, unanchored
	Type     Type
	Buckets  Buckets
}

func (o *Options) selects(t Type, name string, used bool) bool {
	return (o.Type == TypeAll || o.Type == t) && (used || !o.UsedOnly) && (o.Filter == nil || o.Filter.MatchString(name))
}

// supportedQuantiles are the quantiles of a summary; times 100 they are whole percents, or halves
// and tenths, without a rounding error.
var supportedQuantiles = [...]float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1}

// supportedBuckets are the upper bounds of buckets besides +Inf (OP-11).
var supportedBuckets = [...]float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// forEachNumber calls f for the selected counters and gauges in order of their names.
func (m *Merged) forEachNumber(o *Options, f func(name string, value string)) {
	c, g := m.Counters, m.Gauges
	for len(c)+len(g) > 0 {
		if len(g) == 0 || len(c) > 0 && c[0].Name <= g[0].Name {
			if o.selects(TypeCounters, c[0].Name, c[0].Used) {
				f(c[0].Name, strconv.FormatUint(c[0].Value, 10))
			}
			c = c[1:]
			continue
		}
		if o.selects(TypeGauges, g[0].Name, g[0].Used) {
			f(g[0].Name, strconv.FormatInt(g[0].Value, 10))
		}
		g = g[1:]
	}
}

// WriteText writes "name: value" lines: text readouts, then counters and gauges, then histograms,
// each sorted by name.
func (m *Merged) WriteText(w io.Writer, o Options) error {
	b := bytebufferpool.Get()
	defer bytebufferpool.Put(b)
	line := func(name, value string) {
		b.WriteString(name)
		b.WriteString(": ")
		b.WriteString(value)
		b.WriteByte('\n')
	}
	for _, t := range m.Texts {
		if o.selects(TypeTextReadouts, t.Name, t.Value != "") {
			line(t.Name, `"`+t.Value+`"`)
		}
	}
	m.forEachNumber(&o, line)
	for i := range m.Histograms {
		h := &m.Histograms[i]
		if o.selects(TypeHistograms, h.Name, h.Used()) {
			line(h.Name, h.text(o.Buckets))
		}
	}
	_, err := b.WriteTo(w)
	return err
}

// text is "P0(interval,cumulative) ..." or "B0.5(interval,cumulative) ...".
func (h *HistogramValue) text(form Buckets) string {
	if !h.Used() {
		return "No recorded values"
	}
	var out []byte
	pair := func(label, interval, cumulative string) {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = append(append(out, label...), '(')
		out = append(append(out, interval...), ',')
		out = append(append(out, cumulative...), ')')
	}
	if form == BucketsCumulative || form == BucketsDisjoint {
		h.forEachBucket(form, func(bound float64, interval, cumulative uint64) {
			pair("B"+number(bound), strconv.FormatUint(interval, 10), strconv.FormatUint(cumulative, 10))
		})
		return string(out)
	}
	for _, q := range supportedQuantiles {
		pair("P"+number(100*q), quantileText(h.Interval, q), quantileText(h.Cumulative, q))
	}
	return string(out)
}

func quantileText(d *Distribution, q float64) string {
	v := d.Quantile(q)
	if math.IsNaN(v) {
		return "nan"
	}
	return number(v)
}

func (h *HistogramValue) forEachBucket(form Buckets, f func(bound float64, interval, cumulative uint64)) {
	var intervalBefore, cumulativeBefore uint64
	for _, bound := range supportedBuckets {
		i, c := h.Interval.AtMost(bound), h.Cumulative.AtMost(bound)
		f(bound, i-intervalBefore, c-cumulativeBefore)
		if form == BucketsDisjoint {
			intervalBefore, cumulativeBefore = i, c
		}
	}
}

type jsonStat struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

type jsonQuantile struct {
	Interval   *float64 `json:"interval"`
	Cumulative *float64 `json:"cumulative"`
}

type jsonQuantiles struct {
	Name   string         `json:"name"`
	Values []jsonQuantile `json:"values"`
}

type jsonBucket struct {
	UpperBound float64 `json:"upper_bound"`
	Interval   uint64  `json:"interval"`
	Cumulative uint64  `json:"cumulative"`
}

type jsonBuckets struct {
	Name    string       `json:"name"`
	Buckets []jsonBucket `json:"buckets"`
}

// WriteJSON writes {"stats":[...]} on one line; histograms come as its last element, when there are
// any. What has no value (an empty interval) is null.
func (m *Merged) WriteJSON(w io.Writer, o Options) error {
	b := bytebufferpool.Get()
	defer bytebufferpool.Put(b)
	b.WriteString(`{"stats":[`)
	first := true
	var failed error
	element := func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			failed = err
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.Write(text)
	}
	for _, t := range m.Texts {
		if o.selects(TypeTextReadouts, t.Name, t.Value != "") {
			element(jsonStat{t.Name, t.Value})
		}
	}
	m.forEachNumber(&o, func(name, value string) { element(jsonStat{name, json.RawMessage(value)}) })
	if h := m.jsonHistograms(&o); h != nil {
		element(map[string]any{"histograms": h})
	}
	b.WriteString("]}")
	if _, err := b.WriteTo(w); err != nil {
		return err
	}
	return failed
}

func (m *Merged) jsonHistograms(o *Options) any {
	var quantiles []jsonQuantiles
	var buckets []jsonBuckets
	for i := range m.Histograms {
		h := &m.Histograms[i]
		if !o.selects(TypeHistograms, h.Name, h.Used()) {
			continue
		}
		if o.Buckets == BucketsCumulative || o.Buckets == BucketsDisjoint {
			list := make([]jsonBucket, 0, len(supportedBuckets))
			h.forEachBucket(o.Buckets, func(bound float64, interval, cumulative uint64) {
				list = append(list, jsonBucket{bound, interval, cumulative})
			})
			buckets = append(buckets, jsonBuckets{h.Name, list})
			continue
		}
		values := make([]jsonQuantile, len(supportedQuantiles))
		for j, q := range supportedQuantiles {
			values[j] = jsonQuantile{quantileOrNil(h.Interval, q), quantileOrNil(h.Cumulative, q)}
		}
		quantiles = append(quantiles, jsonQuantiles{h.Name, values})
	}
	switch {
	case buckets != nil:
		return buckets
	case quantiles != nil:
		percents := make([]float64, len(supportedQuantiles))
		for i, q := range supportedQuantiles {
			percents[i] = 100 * q
		}
		return struct {
			Supported []float64       `json:"supported_quantiles"`
			Computed  []jsonQuantiles `json:"computed_quantiles"`
		}{percents, quantiles}
	}
	return nil
}

func quantileOrNil(d *Distribution, q float64) *float64 {
	v := d.Quantile(q)
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

// WriteText collects and writes the /stats text.
func (r *Registry) WriteText(w io.Writer, o Options) error { return r.Collect().WriteText(w, o) }

// WriteJSON collects and writes the /stats?format=json text.
func (r *Registry) WriteJSON(w io.Writer, o Options) error { return r.Collect().WriteJSON(w, o) }
