package cluster

import (
	"fmt"
	"testing"
)

type fixedThreshold uint64

func (f fixedThreshold) Load() uint64 { return uint64(f) }

// watchedHost is a host of a cluster with outlier detection that ejects after three failures of a kind.
func watchedHost(split bool) (*Host, <-chan struct{}) {
	told := make(chan struct{}, 1)
	three := fixedThreshold(3)
	w := &record{watched: watched{thresholds: &thresholds{three, three, three}, split: split, tell: told}}
	return &Host{record: w}, told
}

// CL-46: what counts as which failure.
func TestCL46OutcomesCountAsWhatTheyAre(t *testing.T) {
	for _, row := range []struct {
		name  string
		split bool
		do    func(h *Host, l *HostLoad)
		want  string // in a row: 5xx gateway local; answers, good, tries, good
	}{
		{"200", false, func(h *Host, l *HostLoad) { h.Answered(l, 200) }, "0 0 0 1 1 0 0"},
		{"500", false, func(h *Host, l *HostLoad) { h.Answered(l, 500) }, "1 0 0 1 0 0 0"},
		{"502", false, func(h *Host, l *HostLoad) { h.Answered(l, 502) }, "1 1 0 1 0 0 0"},
		{"503", false, func(h *Host, l *HostLoad) { h.Answered(l, 503) }, "1 1 0 1 0 0 0"},
		{"504", false, func(h *Host, l *HostLoad) { h.Answered(l, 504) }, "1 1 0 1 0 0 0"},
		{"500 ends a run of 503", false, func(h *Host, l *HostLoad) { h.Answered(l, 503); h.Answered(l, 500) }, "2 0 0 2 0 0 0"},
		{"success ends both", false, func(h *Host, l *HostLoad) { h.Answered(l, 503); h.Answered(l, 404) }, "0 0 0 2 1 0 0"},
		{"no connection", false, func(h *Host, l *HostLoad) { h.Failed(l, ConnectFailed, 0) }, "1 1 0 1 0 0 0"},
		{"broken", false, func(h *Host, l *HostLoad) { h.Failed(l, Broke, 0) }, "1 1 0 1 0 0 0"},
		{"timeout", false, func(h *Host, l *HostLoad) { h.Failed(l, TimedOut, 0) }, "1 1 0 1 0 0 0"},
		{"timeout answered with 204", false, func(h *Host, l *HostLoad) { h.Failed(l, TimedOut, 204) }, "0 0 0 1 1 0 0"},
		{"a connection is no answer", false, func(h *Host, l *HostLoad) { h.Connected(l, false) }, "0 0 0 0 0 0 0"},
		{"a session is", false, func(h *Host, l *HostLoad) { h.Connected(l, true) }, "0 0 0 1 1 0 0"},
		{"split: 503", true, func(h *Host, l *HostLoad) { h.Answered(l, 503) }, "1 1 0 1 0 0 0"},
		{"split: timeout", true, func(h *Host, l *HostLoad) { h.Failed(l, TimedOut, 204) }, "0 0 1 0 0 1 0"},
		{"split: no connection", true, func(h *Host, l *HostLoad) { h.Failed(l, ConnectFailed, 0) }, "0 0 1 0 0 1 0"},
		{"split: connected", true, func(h *Host, l *HostLoad) { h.Failed(l, Broke, 0); h.Connected(l, false) }, "0 0 0 0 0 2 1"},
		{"split: answers say nothing of connections", true, func(h *Host, l *HostLoad) { h.Failed(l, Broke, 0); h.Answered(l, 200) }, "0 0 1 1 1 1 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, _ := watchedHost(row.split)
			var l HostLoad
			row.do(h, &l)
			w := h.record
			got := fmt.Sprint(w.consecutive[0].Load(), w.consecutive[1].Load(), w.consecutive[2].Load(), l.Answers, l.GoodAnswers, l.Tries, l.GoodTries)
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestThresholdsWakeTheControlPlaneOnce(t *testing.T) {
	h, told := watchedHost(false)
	var l HostLoad
	h.Answered(&l, 500)
	h.Answered(&l, 500)
	if len(told) != 0 {
		t.Fatal("told after two of three")
	}
	h.Answered(&l, 500)
	if len(told) != 1 || h.record.crossed.Load() != 1<<consecutive5xx {
		t.Fatalf("told %d times of %b", len(told), h.record.crossed.Load())
	}
	<-told
	h.Answered(&l, 500)
	if len(told) != 0 {
		t.Error("told again within the same run")
	}
	h.FailedAtOnce()
	if len(told) != 1 || h.record.crossed.Load()&(1<<failedAtOnce) == 0 {
		t.Error("an immediate failure is not told")
	}
}

func TestOutcomesCostNothingWhenNobodyMinds(t *testing.T) {
	h, l := new(Host), new(HostLoad)
	h.Answered(l, 500)
	h.Failed(l, TimedOut, 0)
	h.Connected(l, true)
	h.FailedAtOnce()
	if *l != (HostLoad{}) {
		t.Errorf("counted %+v", *l)
	}
}

func TestOutcomesAllocateNothing(t *testing.T) {
	h, told := watchedHost(true)
	var l HostLoad
	if n := testing.AllocsPerRun(100, func() {
		h.Answered(&l, 503)
		h.Answered(&l, 200)
		for range 3 {
			h.Failed(&l, Broke, 0)
		}
		h.Connected(&l, false)
		h.FailedAtOnce()
		<-told
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
