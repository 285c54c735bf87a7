package stats

import (
	"io"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"

	"github.com/valyala/bytebufferpool"
)

// WritePrometheus collects and writes the text exposition format: our series as the options say and,
// when they select everything, what else is in Set and the process's and Go's own metrics.
func (r *Registry) WritePrometheus(w io.Writer, o Options) error {
	if o != (Options{}) {
		return r.Collect().WritePrometheus(w, o)
	}
	// The set and its writers have nowhere to put an error.
	b := &stickyWriter{w: w}
	r.set.WritePrometheus(b)
	metrics.WriteProcessMetrics(b)
	return b.err
}

// writeSeries is the registry's part of Set.
func (r *Registry) writeSeries(w io.Writer) {
	b := &stickyWriter{w: w}
	b.err = r.Collect().WritePrometheus(b, Options{})
}

// stickyWriter drops everything after the first error and remembers it.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

// sample is one series with its name taken apart.
type sample struct {
	metric string
	labels string // a="b",c="d"; may be empty
	place  int    // in the list of its kind
}

// WritePrometheus writes counters, gauges and histograms, each sorted by metric: one TYPE line and
// its samples without a blank line between. Text readouts have no number and are left out.
func (m *Merged) WritePrometheus(w io.Writer, o Options) error {
	b := bytebufferpool.Get()
	defer bytebufferpool.Put(b)
	var samples []sample
	for i := range m.Counters {
		c := &m.Counters[i]
		if o.selects(TypeCounters, c.Name, c.Used) {
			samples = append(samples, newSample(c.Name, i))
		}
	}
	writeGroups(b, "counter", samples, func(s *sample) {
		writeSample(b, s.metric, "", s.labels, "", strconv.FormatUint(m.Counters[s.place].Value, 10))
	})
	samples = samples[:0]
	for i := range m.Gauges {
		g := &m.Gauges[i]
		if o.selects(TypeGauges, g.Name, g.Used) {
			samples = append(samples, newSample(g.Name, i))
		}
	}
	writeGroups(b, "gauge", samples, func(s *sample) {
		writeSample(b, s.metric, "", s.labels, "", strconv.FormatInt(m.Gauges[s.place].Value, 10))
	})
	samples = samples[:0]
	for i := range m.Histograms {
		h := &m.Histograms[i]
		if o.selects(TypeHistograms, h.Name, h.Used()) {
			samples = append(samples, newSample(h.Name, i))
		}
	}
	kind, write := "histogram", writeBuckets
	if o.Buckets == BucketsSummary {
		kind, write = "summary", writeQuantiles
	}
	writeGroups(b, kind, samples, func(s *sample) { write(b, s, &m.Histograms[s.place]) })
	_, err := b.WriteTo(w)
	return err
}

func newSample(name string, place int) sample {
	rest, tags := extract(name)
	var labels strings.Builder
	for i, t := range tags {
		if i > 0 {
			labels.WriteByte(',')
		}
		labels.WriteString(sanitize(t.name))
		labels.WriteString(`="`)
		labels.WriteString(labelEscaper.Replace(t.value))
		labels.WriteByte('"')
	}
	return sample{"envoy_" + sanitize(rest), labels.String(), place}
}

var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sanitize replaces every byte that a metric name cannot have.
func sanitize(name string) string {
	b := []byte(name)
	for i, c := range b {
		if (c|0x20 < 'a' || c|0x20 > 'z') && !digit(c) {
			b[i] = '_'
		}
	}
	return string(b)
}

func writeGroups(b *bytebufferpool.ByteBuffer, kind string, samples []sample, write func(*sample)) {
	sort.Slice(samples, func(i, j int) bool {
		if samples[i].metric != samples[j].metric {
			return samples[i].metric < samples[j].metric
		}
		return samples[i].labels < samples[j].labels
	})
	for i := range samples {
		if i == 0 || samples[i].metric != samples[i-1].metric {
			b.WriteString("# TYPE " + samples[i].metric + " " + kind + "\n")
		}
		write(&samples[i])
	}
}

// writeSample writes one line; label is one more label behind the sample's own.
func writeSample(b *bytebufferpool.ByteBuffer, metric, suffix, labels, label, value string) {
	b.WriteString(metric)
	b.WriteString(suffix)
	b.WriteByte('{')
	b.WriteString(labels)
	if labels != "" && label != "" {
		b.WriteByte(',')
	}
	b.WriteString(label)
	b.WriteString("} ")
	b.WriteString(value)
	b.WriteByte('\n')
}

func writeBuckets(b *bytebufferpool.ByteBuffer, s *sample, h *HistogramValue) {
	count := strconv.FormatUint(h.Cumulative.Count, 10)
	for _, bound := range supportedBuckets {
		writeSample(b, s.metric, "_bucket", s.labels, `le="`+number(bound)+`"`, strconv.FormatUint(h.Cumulative.AtMost(bound), 10))
	}
	writeSample(b, s.metric, "_bucket", s.labels, `le="+Inf"`, count)
	writeSample(b, s.metric, "_sum", s.labels, "", strconv.FormatUint(h.Cumulative.Sum, 10))
	writeSample(b, s.metric, "_count", s.labels, "", count)
}

// writeQuantiles writes the interval's quantiles: a summary is about the recent past.
func writeQuantiles(b *bytebufferpool.ByteBuffer, s *sample, h *HistogramValue) {
	for _, q := range supportedQuantiles {
		value := "NaN"
		if v := h.Interval.Quantile(q); !math.IsNaN(v) {
			value = number(v)
		}
		writeSample(b, s.metric, "", s.labels, `quantile="`+number(q)+`"`, value)
	}
	writeSample(b, s.metric, "_sum", s.labels, "", strconv.FormatUint(h.Cumulative.Sum, 10))
	writeSample(b, s.metric, "_count", s.labels, "", strconv.FormatUint(h.Cumulative.Count, 10))
}
