package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// MachineLine says in one line where the run was made.
func (r *Report) MachineLine() string {
	m := &r.Machine
	parts := []string{m.Kernel, fmt.Sprintf("%s x %d", m.CPU, m.CPUs), m.Go}
	for _, v := range m.Versions {
		parts = append(parts, v.Name+" "+v.Version)
	}
	return strings.Join(parts, "; ")
}

// WriteTable writes the whole report as text.
func (r *Report) WriteTable(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s\n%s profile, %s: %s\n", r.MachineLine(), r.Profile, r.Started.Format(time.RFC3339), r.Machine.Command)
	for i := range r.Scenarios {
		r.Scenarios[i].writeTable(b, r.Subject)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "\nnote: %s", n)
	}
	if r.Notes != nil {
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Scenario) writeTable(b *strings.Builder, subject string) {
	fmt.Fprintf(b, "\n%s: %s", s.Name, s.Title)
	if s.Load != "" {
		fmt.Fprintf(b, " (load: %s)", s.Load)
	}
	b.WriteByte('\n')
	rows := s.Rows(subject)
	if len(rows) > 0 {
		t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
		head, cells := columns(s.Metric, rows)
		fmt.Fprintln(t, strings.Join(head, "\t")+"\t")
		for i := range rows {
			fmt.Fprintln(t, strings.Join(cells[i], "\t")+"\t")
		}
		_ = t.Flush() // a strings.Builder takes everything
	}
	for _, r := range rows {
		if r.Errors > 0 {
			fmt.Fprintf(b, "  %s: %d failed requests: %s\n", r.Peer, r.Errors, r.ErrorText)
		}
	}
	for _, x := range s.Refused {
		fmt.Fprintf(b, "  %s is not in this table: %s\n", x.Peer, x.Why)
	}
	for _, v := range s.Verdicts(subject) {
		fmt.Fprintf(b, "  target: %s\n", v)
	}
}

// columns returns the head of the table and the cells of each row. Columns that no row can fill are left
// out.
func columns(m Metric, rows []Row) (head []string, cells [][]string) {
	type column struct {
		head string
		cell func(*Row) string
	}
	cols := []column{
		{"", func(r *Row) string { return r.Peer }},
		{m.Label(), func(r *Row) string { return m.Format(r.Cost) }},
		{"spread", func(r *Row) string { return percent(r.Spread) }},
		{"x best peer", func(r *Row) string { return ratioText(r.Ratio) }},
	}
	if m.OfLoad() {
		cols = append(cols,
			column{"requests/s", func(r *Row) string { return fmt.Sprintf("%.0f", r.PerSecond) }},
			column{"p50", func(r *Row) string { return Short(r.P50) }},
			column{"p99", func(r *Row) string { return Short(r.P99) }})
	}
	cols = append(cols, column{"RSS MiB", func(r *Row) string { return fmt.Sprintf("%.1f", r.RSS/(1<<20)) }})
	if m.OfLoad() {
		cols = append(cols,
			column{"proxy busy", func(r *Row) string { return percent(r.ProxyBusy) }},
			column{"load busy", func(r *Row) string { return percent(r.LoadBusy) }},
			column{"origin busy", func(r *Row) string { return percent(r.OriginBusy) }},
			column{"softirq", func(r *Row) string { return percent(r.Softirq) }})
	}
	for i := range rows {
		if rows[i].HasMallocs {
			cols = append(cols, column{"mallocs/request", func(r *Row) string {
				if !r.HasMallocs {
					return "-"
				}
				return fmt.Sprintf("%.3f", r.Mallocs)
			}})
			break
		}
	}
	cells = make([][]string, len(rows))
	for _, c := range cols {
		head = append(head, c.head)
		for i := range rows {
			cells[i] = append(cells[i], c.cell(&rows[i]))
		}
	}
	return head, cells
}

func ratioText(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func percent(v float64) string { return fmt.Sprintf("%.0f%%", 100*v) }

// Short writes a latency with three digits at most before its unit. 0 is one that was not measured.
func Short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1fus", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0fus", float64(d)/1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2fms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0fms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2fs", float64(d)/1e9)
}
