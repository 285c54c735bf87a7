package wire

import (
	"fmt"
	"slices"
	"strings"
)

// compare returns what m lacks of what w asks for, and every fault of m. Statuses are compared by
// the caller.
func (w *Message) compare(m *message) []string {
	bad := slices.Clone(m.faults)
	if line := strings.TrimSuffix(m.line, " HTTP/1.1"); w.Line != "" && w.Line != line {
		bad = append(bad, fmt.Sprintf("first line %q, want %q", line, w.Line))
	}
	bad = append(bad, compareFields("field", w.Fields, m.fields)...)
	for _, name := range w.Absent {
		if v := get(m.fields, name); len(v) > 0 {
			bad = append(bad, fmt.Sprintf("field %s is %q, want none", name, v))
		}
	}
	for _, name := range w.Spelled {
		if !slices.ContainsFunc(m.fields, func(f field) bool { return f.name == name }) {
			bad = append(bad, fmt.Sprintf("no field is spelled %s", name))
		}
	}
	if w.Body != nil && *w.Body != string(m.body) {
		bad = append(bad, fmt.Sprintf("body %s, want %s", quote(m.body), quote([]byte(*w.Body))))
	}
	if w.Framed != "" && w.Framed != m.framing {
		bad = append(bad, fmt.Sprintf("framed %s, want %s", m.framing, w.Framed))
	}
	bad = append(bad, compareFields("trailer", w.Trailers, m.trailers)...)
	if w.NoTrailers && len(m.trailers) > 0 {
		bad = append(bad, fmt.Sprintf("trailers %v, want none", m.trailers))
	}
	if w.Cut && !m.cut {
		bad = append(bad, "complete, want it cut short")
	}
	return bad
}

// compareFields compares the values of each name that wants speaks of.
func compareFields(what string, wants []FieldWant, fields []field) []string {
	var bad []string
	done := map[string]bool{}
	for _, w := range wants {
		if done[w.Name] {
			continue
		}
		done[w.Name] = true
		got := get(fields, w.Name)
		var group []FieldWant
		for _, x := range wants {
			if x.Name == w.Name {
				group = append(group, x)
			}
		}
		if !matches(group, got) {
			bad = append(bad, fmt.Sprintf("%s %s is %q, want %s", what, w.Name, got, wanted(group)))
		}
	}
	return bad
}

func matches(group []FieldWant, got []string) bool {
	if group[0].Any {
		return len(got) > 0
	}
	return slices.EqualFunc(group, got, func(w FieldWant, v string) bool {
		if w.Pattern != nil {
			return w.Pattern.MatchString(v)
		}
		return w.Value == v
	})
}

func wanted(group []FieldWant) string {
	var out []string
	for _, w := range group {
		switch {
		case w.Any:
			return "any value"
		case w.Pattern != nil:
			out = append(out, w.Pattern.String())
		default:
			out = append(out, fmt.Sprintf("%q", w.Value))
		}
	}
	return "[" + strings.Join(out, " ") + "]"
}

// compareOrigin returns what the origin saw and should not have, and the other way round.
func compareOrigin(w *OriginWant, seen []*message) []string {
	var bad []string
	switch w.Mode {
	case GetsNothing:
		for _, m := range seen {
			bad = append(bad, "origin: wants nothing, got "+m.String())
		}
		return bad
	case CompletesNothing:
		for _, m := range seen {
			if !m.cut || len(m.faults) > 0 {
				bad = append(bad, "origin: wants no complete request, got "+m.String())
			}
		}
		return bad
	case GetsExactly:
	}
	for i, want := range w.Requests {
		if i >= len(seen) {
			bad = append(bad, fmt.Sprintf("origin, request %d: missing, want %s", i+1, want.Line))
			continue
		}
		m := seen[i]
		this := want.compare(m)
		if m.cut && !want.Cut {
			this = append(this, "cut short")
		}
		if i > 0 && (want.Conn == NewConn && m.conn == seen[i-1].conn || want.Conn == SameConn && m.conn != seen[i-1].conn) {
			this = append(this, fmt.Sprintf("came on connection %d after connection %d", m.conn, seen[i-1].conn))
		}
		for _, s := range this {
			bad = append(bad, fmt.Sprintf("origin, request %d: %s", i+1, s))
		}
		if len(this) > 0 {
			bad = append(bad, "  the request was "+m.String())
		}
	}
	for _, m := range seen[min(len(seen), len(w.Requests)):] {
		bad = append(bad, "origin: one request too many: "+m.String())
	}
	return bad
}

// String shows a message for a report.
func (m *message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", m.line)
	for _, f := range m.fields {
		fmt.Fprintf(&b, "\n      %s: %s", f.name, quote([]byte(f.value)))
	}
	fmt.Fprintf(&b, "\n      framed %s, body %s", m.framing, quote(m.body))
	for _, f := range m.trailers {
		fmt.Fprintf(&b, "\n      trailer %s: %q", f.name, f.value)
	}
	if m.cut {
		b.WriteString("\n      cut short")
	}
	for _, f := range m.faults {
		b.WriteString("\n      fault: " + f)
	}
	return b.String()
}
