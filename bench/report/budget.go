package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
)

// Budget is one target of a scenario. Against names what the subject's cost is divided by: "best" is the
// best peer of the round, a proxy's name is that one, and "" compares the cost itself with Max.
type Budget struct {
	Against string  `json:"against,omitempty"`
	Max     float64 `json:"max"`
	// Of is "mallocs" for a target on heap objects per request; empty for the cost.
	Of string `json:"of,omitempty"`
}

//go:embed budget.json
var budgetFile []byte

// Budgets returns the project's targets by scenario name.
func Budgets() (map[string][]Budget, error) { return ParseBudgets(budgetFile) }

// ParseBudgets reads a budget file: an object from scenario name to a list of targets.
func ParseBudgets(b []byte) (map[string][]Budget, error) {
	budgets := map[string][]Budget{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&budgets); err != nil {
		return nil, fmt.Errorf("budgets: %w", err)
	}
	for name, list := range budgets {
		for _, t := range list {
			if t.Max <= 0 || (t.Of != "" && t.Of != "mallocs") || (t.Of != "" && t.Against != "") {
				return nil, fmt.Errorf("budgets: %s: a target needs a max above 0, of nothing or mallocs, and mallocs against nothing", name)
			}
		}
	}
	return budgets, nil
}

// Outcome is how a target came out.
type Outcome uint8

// The outcomes of a target.
const (
	NotMeasured Outcome = iota
	Met
	Missed
)

// Verdict is a target with what was measured for it.
type Verdict struct {
	Budget  Budget
	Outcome Outcome
	Value   float64
	// Failed is how many of the subject's requests failed; any makes the target missed.
	Failed int64
	metric Metric
}

// String says the verdict in a few words.
func (v Verdict) String() string {
	value, limit, what := fmt.Sprintf("%.2f", v.Value), fmt.Sprintf("%.2f", v.Budget.Max), ""
	switch {
	case v.Budget.Of == "mallocs":
		value, limit, what = fmt.Sprintf("%.3f", v.Value), fmt.Sprintf("%.3f", v.Budget.Max), " mallocs/request"
	case v.Budget.Against == "":
		value, limit, what = v.metric.Format(v.Value), v.metric.Format(v.Budget.Max), " "+v.metric.Label()
	case v.Budget.Against == "best":
		what = " of the best peer"
	default:
		what = " of " + v.Budget.Against
	}
	switch v.Outcome {
	case Met:
		return fmt.Sprintf("met (%s <= %s%s)", value, limit, what)
	case Missed:
		if v.Failed > 0 {
			return fmt.Sprintf("missed: %d failed requests (%s, target %s%s)", v.Failed, value, limit, what)
		}
		return fmt.Sprintf("missed by %.0f %% (%s > %s%s)", 100*(v.Value/v.Budget.Max-1), value, limit, what)
	}
	return fmt.Sprintf("not measured (target %s%s)", limit, what)
}

// Verdicts judges the scenario's targets for subject. A sample with failed requests has no cost to speak
// of, so that one such round makes all of the scenario's targets missed.
func (s *Scenario) Verdicts(subject string) []Verdict {
	mine := s.of(subject)
	verdicts := make([]Verdict, 0, len(s.Budgets))
	for _, t := range s.Budgets {
		v := Verdict{Budget: t, Failed: failures(mine), metric: s.Metric}
		var measured bool
		switch {
		case t.Of == "mallocs":
			var values []float64
			for i := range mine {
				if m := mine[i].MallocsPerRequest; m != nil {
					values = append(values, *m)
				}
			}
			v.Value, measured = median(values), len(values) > 0
		case t.Against == "":
			v.Value, measured = medianOf(mine, func(m *Sample) float64 { return m.Cost }), len(mine) > 0
		default:
			v.Value = s.ratio(subject, func(peer string) bool {
				return peer == t.Against || t.Against == "best" && peer != subject
			})
			measured = v.Value > 0
		}
		if measured {
			v.Outcome = Met
			if v.Value > t.Max || v.Failed > 0 {
				v.Outcome = Missed
			}
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// Missed returns how many targets the run has missed.
func (r *Report) Missed() (n int) {
	for i := range r.Scenarios {
		for _, v := range r.Scenarios[i].Verdicts(r.Subject) {
			if v.Outcome == Missed {
				n++
			}
		}
	}
	return n
}

func failures(samples []Sample) (n int64) {
	for i := range samples {
		n += samples[i].Errors
	}
	return n
}
