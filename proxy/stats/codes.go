package stats

import (
	"strconv"
	"sync"
	"sync/atomic"
)

// CodeStats counts responses by status under one prefix: upstream_rq_<code>, upstream_rq_<N>xx,
// upstream_rq_completed and upstream_rq_time, plain and again under "canary.", "internal." and
// "external." (router.md 11.3). A code's name is registered when it first occurs; what every
// dashboard asks for, the plain classes and totals, exists from the start.
//
// Shared by all loops. Charging loads one word per prefix that the first loop to see the code has
// stored; only that first time takes a lock.
type CodeStats struct {
	registry *Registry
	prefix   string
	sets     [numCodePrefixes]codeSet
	mu       sync.Mutex // first use of a set, a code, or another tree
	// alts and zones are the trees below this one by name, of alternative stat names and of pairs of zones;
	// copied when one is added.
	alts, zones treesPointer
}

type treesPointer = atomic.Pointer[map[string]*CodeStats]

const (
	plainCodes = iota
	canaryCodes
	internalCodes
	externalCodes
	retryCodes
	numCodePrefixes
)

var codePrefixes = [numCodePrefixes]string{"", "canary.", "internal.", "external.", "retry."}

const (
	leastCode = 100
	mostCode  = 599
)

// codeSet is one prefix's series. The fields of totals are written before it is published.
type codeSet struct {
	totals atomic.Pointer[codeTotals]
	codes  [mostCode - leastCode + 1]atomic.Uint32 // Counter, 0 not yet
}

type codeTotals struct {
	Completed Counter    `stat:"upstream_rq_completed"`
	Class     [5]Counter `stat:"upstream_rq_%dxx"`
	Unknown   Counter    `stat:"upstream_rq_unknown"` // no status between 100 and 599
	Time      Histogram  `stat:"upstream_rq_time,ms"`
}

// basicTotals are those of responses that led to another try, which have no time.
type basicTotals struct {
	Completed Counter    `stat:"upstream_rq_completed"`
	Class     [5]Counter `stat:"upstream_rq_%dxx"`
	Unknown   Counter    `stat:"upstream_rq_unknown"`
}

// NewCodeStats makes the counts under prefix, which ends in a dot: "cluster.<name>.".
func NewCodeStats(r *Registry, prefix string) *CodeStats {
	c := &CodeStats{registry: r, prefix: prefix}
	c.openSet(plainCodes)
	return c
}

// Charge counts one response that took ms milliseconds. Runs on s's loop; allocates only the first
// time a code or a prefix occurs.
func (c *CodeStats) Charge(s *Shard, status uint16, ms uint64, internal, canary bool) {
	c.charge(plainCodes, s, status, ms)
	if internal {
		c.charge(internalCodes, s, status, ms)
	} else {
		c.charge(externalCodes, s, status, ms)
	}
	if canary {
		c.charge(canaryCodes, s, status, ms)
	}
}

func (c *CodeStats) charge(set int, s *Shard, status uint16, ms uint64) {
	totals := c.sets[set].totals.Load()
	if totals == nil {
		totals = c.openSet(set)
	}
	s.Inc(totals.Completed)
	s.Record(totals.Time, ms)
	if status < leastCode || status > mostCode {
		s.Inc(totals.Unknown)
		return
	}
	s.Inc(totals.Class[status/100-1])
	code := Counter(c.sets[set].codes[status-leastCode].Load())
	if code == 0 {
		code = c.openCode(set, status)
	}
	s.Inc(code)
}

func (c *CodeStats) openSet(set int) *codeTotals {
	c.mu.Lock()
	defer c.mu.Unlock()
	totals := new(codeTotals)
	if set == retryCodes {
		basic := new(basicTotals)
		register(c.registry, c.prefix+codePrefixes[set], basic)
		totals.Completed, totals.Class, totals.Unknown = basic.Completed, basic.Class, basic.Unknown
	} else {
		register(c.registry, c.prefix+codePrefixes[set], totals)
	}
	c.sets[set].totals.Store(totals)
	return totals
}

func (c *CodeStats) openCode(set int, status uint16) Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	code := c.registry.Counter(c.prefix + codePrefixes[set] + "upstream_rq_" + strconv.Itoa(int(status)))
	c.sets[set].codes[status-leastCode].Store(uint32(code))
	return code
}
