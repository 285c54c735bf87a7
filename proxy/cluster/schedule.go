package cluster

import "math"

// schedule picks entries in proportion to their weights, earliest deadline first:
// one of weight w is due every 1/w, so they come interleaved, not in runs.
// A heap by (deadline, order). Loop-owned; picking allocates nothing, O(log n).
type schedule struct {
	entries []entry
	now     float64 // deadline of the latest pick whose weight varies
}

type entry struct {
	deadline float64
	weight   float64
	load     *HostLoad // for nextBy
	host     *Host     // for nextBy
	picks    uint64
	order    int // position in the list, breaks ties
}

// rebase is the virtual time at which schedules of varying weights start again from 0,
// before deadlines lose precision.
const rebase = 1 << 20

// newSchedule makes a schedule of entries with weight, load and host; those of no weight never come.
func newSchedule(entries []entry) *schedule {
	s := &schedule{entries: entries}
	for i := range entries {
		entries[i].order = i
		entries[i].deadline = 1 / entries[i].weight // infinite without weight
	}
	s.heapify()
	return s
}

func hostEntries(hosts []*Host, loads []*HostLoad) []entry {
	out := make([]entry, len(hosts))
	for i, h := range hosts {
		out[i] = entry{weight: float64(h.Weight), load: loads[i], host: h}
	}
	return out
}

// next picks by weight alone. As many picks in a row as the weights add up to hold
// every entry exactly weight times, however long it runs: a deadline is one division
// of whole numbers, not a sum of rounded ones.
func (s *schedule) next() int {
	e := &s.entries[0]
	n := e.order
	e.picks++
	e.deadline = float64(e.picks+1) / e.weight
	s.sink(0)
	return n
}

// varies is what changes the weight of a host from pick to pick.
type varies struct {
	// bias is the exponent of one more than this loop's active requests, which the weight is divided by; 0: they
	// do not matter.
	bias float64
	slow *slowStart // nil: off
	now  int64
}

// nextBy picks with the weight as it is at the time of the pick.
func (s *schedule) nextBy(v varies) int {
	e := &s.entries[0]
	n := e.order
	s.now = e.deadline
	weight := e.weight
	switch v.bias {
	case 0:
	case 1:
		weight /= float64(e.load.RqActive + 1)
	default:
		weight /= math.Pow(float64(e.load.RqActive+1), v.bias)
	}
	if v.slow != nil {
		weight *= v.slow.factor(e.host, v.now)
	}
	e.deadline += 1 / weight
	s.sink(0)
	if s.now > rebase {
		for i := range s.entries {
			s.entries[i].deadline -= s.now
		}
		s.now = 0
	}
	return n
}

func (s *schedule) heapify() {
	for i := len(s.entries)/2 - 1; i >= 0; i-- {
		s.sink(i)
	}
}

func (s *schedule) before(i, j int) bool {
	a, b := &s.entries[i], &s.entries[j]
	return a.deadline < b.deadline || (a.deadline == b.deadline && a.order < b.order)
}

func (s *schedule) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.entries) {
			return
		}
		if right := child + 1; right < len(s.entries) && s.before(right, child) {
			child = right
		}
		if !s.before(child, i) {
			return
		}
		s.entries[i], s.entries[child] = s.entries[child], s.entries[i]
		i = child
	}
}
