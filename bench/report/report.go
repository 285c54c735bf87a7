// Package report holds what a comparison of proxies measured and shows it: as a table for a terminal, as
// JSON, and as one self-contained HTML page. It computes medians, ratios and the verdicts on the budgets,
// and measures nothing itself.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Report is one run of a comparison.
type Report struct {
	Subject   string     `json:"subject"` // the proxy the budgets are for
	Profile   string     `json:"profile"`
	Started   time.Time  `json:"started"`
	Machine   Machine    `json:"machine"`
	Scenarios []Scenario `json:"scenarios"`
	Notes     []string   `json:"notes,omitempty"`
}

// Machine is where and with what the run was made.
type Machine struct {
	Kernel   string    `json:"kernel"`
	CPU      string    `json:"cpu"`
	CPUs     int       `json:"cpus"`
	Go       string    `json:"go"`
	Versions []Version `json:"versions"`
	Command  string    `json:"command"`
}

// Version is a program and the version it reports.
type Version struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Metric says what Sample.Cost is. Less is better for all of them.
type Metric string

// The metrics.
const (
	CPUPerRequest Metric = "cpu_us_per_request"
	CPUPerGB      Metric = "cpu_s_per_gb"
	BytesPerConn  Metric = "rss_bytes_per_connection"
	GrowthBytes   Metric = "rss_growth_bytes"
)

// Label returns the metric in words.
func (m Metric) Label() string {
	switch m {
	case CPUPerRequest:
		return "CPU us/request"
	case CPUPerGB:
		return "CPU s/GB"
	case BytesPerConn:
		return "RSS B/connection"
	case GrowthBytes:
		return "RSS growth MiB"
	}
	return string(m)
}

// OfLoad reports whether the metric comes with a rate and latencies.
func (m Metric) OfLoad() bool { return m == CPUPerRequest || m == CPUPerGB }

// Format writes a cost with the digits that mean something.
func (m Metric) Format(v float64) string {
	switch m {
	case CPUPerGB:
		return fmt.Sprintf("%.3f", v)
	case BytesPerConn:
		return fmt.Sprintf("%.0f", v)
	case GrowthBytes:
		return fmt.Sprintf("%.1f", v/(1<<20))
	}
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Scenario is one row group of the table: the same work for every proxy.
type Scenario struct {
	Name    string    `json:"name"`
	Title   string    `json:"title"`
	Metric  Metric    `json:"metric"`
	Load    string    `json:"load"` // which generator
	Samples []Sample  `json:"samples"`
	Refused []Refusal `json:"refused,omitempty"`
	Budgets []Budget  `json:"budgets,omitempty"`
}

// Refusal is a proxy that is not in the table, and why.
type Refusal struct {
	Peer string `json:"peer"`
	Why  string `json:"why"`
}

// Sample is one proxy in one round. Shares are of one CPU, 0 to 1.
type Sample struct {
	Peer  string  `json:"peer"`
	Round int     `json:"round"`
	Cost  float64 `json:"cost"` // in units of the scenario's metric

	Requests  int64   `json:"requests,omitempty"`
	PerSecond float64 `json:"per_second,omitempty"`
	P50Ns     int64   `json:"p50_ns,omitempty"`
	P99Ns     int64   `json:"p99_ns,omitempty"`
	Errors    int64   `json:"errors,omitempty"`
	ErrorText string  `json:"error_text,omitempty"`

	RSS         int64   `json:"rss_bytes"`
	ProxyBusy   float64 `json:"proxy_busy"`   // the proxy's own CPU time
	LoadBusy    float64 `json:"load_busy"`    // the load generator's; 0 when not known
	OriginBusy  float64 `json:"origin_busy"`  // the origin's
	SoftirqBusy float64 `json:"softirq_busy"` // softirq time on the proxy's CPU, ksoftirqd or not
	StealShare  float64 `json:"steal_share"`  // time the hypervisor kept from the proxy's CPU
	OthersBusy  float64 `json:"others_busy"`  // what is left of the busy time of the proxy's CPU without the proxy
	// MallocsPerRequest is the whole process's heap objects per request; nil when the proxy does not tell.
	MallocsPerRequest *float64 `json:"mallocs_per_request,omitempty"`
}

// Row is what the table says about one proxy in one scenario: medians over the rounds.
type Row struct {
	Peer                          string
	Cost, Spread                  float64 // spread: (most - least) / median
	PerSecond                     float64
	P50, P99                      time.Duration
	RSS                           float64
	ProxyBusy                     float64
	LoadBusy, OriginBusy, Softirq float64
	Mallocs                       float64
	HasMallocs                    bool
	Ratio                         float64 // to the best peer of the same round, median; 0 when there is none
	Best                          bool
	Errors                        int64
	ErrorText                     string
	Rounds                        int
}

// Rows returns one row for each proxy, in the order of the first round. subject is compared with the best
// of the others; the others are compared with the best of themselves.
func (s *Scenario) Rows(subject string) []Row {
	var names []string
	for _, m := range s.Samples {
		if !slices.Contains(names, m.Peer) {
			names = append(names, m.Peer)
		}
	}
	rows := make([]Row, 0, len(names))
	for _, name := range names {
		mine := s.of(name)
		r := Row{Peer: name, Rounds: len(mine)}
		r.Cost = medianOf(mine, func(m *Sample) float64 { return m.Cost })
		r.PerSecond = medianOf(mine, func(m *Sample) float64 { return m.PerSecond })
		r.P50 = time.Duration(medianOf(mine, func(m *Sample) float64 { return float64(m.P50Ns) }))
		r.P99 = time.Duration(medianOf(mine, func(m *Sample) float64 { return float64(m.P99Ns) }))
		r.RSS = medianOf(mine, func(m *Sample) float64 { return float64(m.RSS) })
		r.ProxyBusy = medianOf(mine, func(m *Sample) float64 { return m.ProxyBusy })
		r.LoadBusy = medianOf(mine, func(m *Sample) float64 { return m.LoadBusy })
		r.Softirq = medianOf(mine, func(m *Sample) float64 { return m.SoftirqBusy })
		r.OriginBusy = medianOf(mine, func(m *Sample) float64 { return m.OriginBusy })
		if s.Metric != GrowthBytes { // there no growth is the rule, and nothing can be divided by it
			r.Ratio = s.ratio(name, func(peer string) bool { return peer != subject })
		}
		if least, most := bounds(mine); r.Cost > 0 {
			r.Spread = (most - least) / r.Cost
		}
		for i := range mine {
			r.Errors += mine[i].Errors
			if mine[i].ErrorText != "" {
				r.ErrorText = mine[i].ErrorText
			}
			if mine[i].MallocsPerRequest != nil {
				r.HasMallocs = true
			}
		}
		if r.HasMallocs {
			r.Mallocs = medianOf(mine, func(m *Sample) float64 {
				if m.MallocsPerRequest == nil {
					return 0
				}
				return *m.MallocsPerRequest
			})
		}
		rows = append(rows, r)
	}
	best := -1
	for i := range rows {
		if best < 0 || rows[i].Cost < rows[best].Cost {
			best = i
		}
	}
	if best >= 0 {
		rows[best].Best = true
	}
	return rows
}

func (s *Scenario) of(peer string) []Sample {
	var mine []Sample
	for _, m := range s.Samples {
		if m.Peer == peer {
			mine = append(mine, m)
		}
	}
	return mine
}

// ratio returns name's cost over that of the best proxy among those that against accepts: the one that makes it
// largest. It is the median over rounds, each compared within itself because the machine drifts; 0 when no round
// has both. The best of each round instead would be whoever was lucky in it, and so be less than any proxy costs.
func (s *Scenario) ratio(name string, against func(peer string) bool) (most float64) {
	mine := map[int]float64{} // by round
	for _, m := range s.of(name) {
		mine[m.Round] = m.Cost
	}
	ratios := map[string][]float64{}
	for _, m := range s.Samples {
		if cost := mine[m.Round]; cost > 0 && m.Cost > 0 && against(m.Peer) {
			ratios[m.Peer] = append(ratios[m.Peer], cost/m.Cost)
		}
	}
	for _, r := range ratios {
		most = max(most, median(r))
	}
	return most
}

func bounds(samples []Sample) (least, most float64) {
	for i, m := range samples {
		if i == 0 || m.Cost < least {
			least = m.Cost
		}
		most = max(most, m.Cost)
	}
	return least, most
}

func medianOf(samples []Sample, value func(*Sample) float64) float64 {
	v := make([]float64, len(samples))
	for i := range samples {
		v[i] = value(&samples[i])
	}
	return median(v)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// WriteJSON writes r, indented.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(src io.Reader) (*Report, error) {
	r := &Report{}
	if err := json.NewDecoder(src).Decode(r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return r, nil
}
