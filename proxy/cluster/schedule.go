package cluster

// schedule picks hosts in proportion to their weights, earliest deadline first:
// a host of weight w is due every 1/w, so hosts come interleaved, not in runs.
// A heap by (deadline, order). Loop-owned; picking allocates nothing, O(log n).
type schedule struct {
	entries []entry
	now     float64 // deadline of the latest load-aware pick
}

type entry struct {
	deadline float64
	host     *Host
	load     *HostLoad
	picks    uint64
	order    int // position in the host list, breaks ties
}

// rebase is the virtual time at which load-aware schedules start again from 0,
// before deadlines lose precision.
const rebase = 1 << 20

func newSchedule(hosts []*Host, loads []*HostLoad) *schedule {
	s := &schedule{entries: make([]entry, len(hosts))}
	for i, h := range hosts {
		s.entries[i] = entry{deadline: 1 / float64(h.Weight), host: h, load: loads[i], order: i}
	}
	s.heapify()
	return s
}

// next picks by weight alone. As many picks in a row as the weights add up to hold
// every host exactly weight times, however long it runs: a deadline is one division
// of whole numbers, not a sum of rounded ones.
func (s *schedule) next() *Host {
	e := &s.entries[0]
	h := e.host
	e.picks++
	e.deadline = float64(e.picks+1) / float64(h.Weight)
	s.sink(0)
	return h
}

// nextByLoad picks with the weight divided by one more than the active requests
// of this loop at the time the host is picked.
func (s *schedule) nextByLoad() *Host {
	e := &s.entries[0]
	h := e.host
	s.now = e.deadline
	e.deadline += float64(e.load.RqActive+1) / float64(h.Weight)
	s.sink(0)
	if s.now > rebase {
		for i := range s.entries {
			s.entries[i].deadline -= s.now
		}
		s.now = 0
	}
	return h
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
