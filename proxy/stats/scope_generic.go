package stats

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/reason"
)

// GenericStats is generic_proxy.<stat_prefix>. (generic_proxy.md 4).
type GenericStats struct {
	DownstreamRqTotal         Counter `stat:"downstream_rq_total"`
	DownstreamRqError         Counter `stat:"downstream_rq_error"`
	DownstreamRqReset         Counter `stat:"downstream_rq_reset"`
	DownstreamRqLocal         Counter `stat:"downstream_rq_local"`
	DownstreamRqDecodingError Counter `stat:"downstream_rq_decoding_error"`

	// These are not Envoy's: waits that are bounded, and responses that answer nobody.
	DownstreamRqQueueFull                    Counter `stat:"downstream_rq_queue_full"`
	DownstreamFlowControlPausedReadingTotal  Counter `stat:"downstream_flow_control_paused_reading_total"`
	DownstreamFlowControlResumedReadingTotal Counter `stat:"downstream_flow_control_resumed_reading_total"`
	UpstreamResponseUnmatched                Counter `stat:"upstream_response_unmatched"`
	UpstreamResponseLate                     Counter `stat:"upstream_response_late"`

	DownstreamRqActive Gauge     `stat:"downstream_rq_active"`
	DownstreamRqTime   Histogram `stat:"downstream_rq_time,ms"`
	DownstreamRqTxTime Histogram `stat:"downstream_rq_tx_time"` // microseconds
}

// NewGenericStats registers generic_proxy.<statPrefix>.
func NewGenericStats(r *Registry, statPrefix string) *GenericStats {
	s := new(GenericStats)
	register(r, "generic_proxy."+Clean(statPrefix)+".", s)
	return s
}

// GenericCodes counts responses by status and flag: generic_proxy.<stat_prefix>.downstream_rq_code.<code>
// and downstream_rq_flag.<flag>. A name is registered when it first occurs. Shared by all loops; only
// that first time takes a lock.
type GenericCodes struct {
	registry *Registry
	prefix   string
	codes    [mostGenericCode + 2]atomic.Uint32 // Counter, 0 not yet; the last one is of any other
	flags    [64]atomic.Uint32
	mu       sync.Mutex
}

const mostGenericCode = 999

// NewGenericCodes makes the counts of generic_proxy.<statPrefix>.
func NewGenericCodes(r *Registry, statPrefix string) *GenericCodes {
	return &GenericCodes{registry: r, prefix: "generic_proxy." + Clean(statPrefix) + ".downstream_rq_"}
}

// Charge counts one request. Runs on s's loop; allocates only the first time a code or flag occurs.
func (g *GenericCodes) Charge(s *Shard, code uint16, flags reason.Flag) {
	at := min(int(code), mostGenericCode+1)
	c := Counter(g.codes[at].Load())
	if c == 0 {
		name := strconv.Itoa(at)
		if at > mostGenericCode {
			name = "-"
		}
		c = g.open(&g.codes[at], "code."+name)
	}
	s.Inc(c)
	for i := 0; flags != 0; i, flags = i+1, flags>>1 {
		if flags&1 == 0 {
			continue
		}
		c := Counter(g.flags[i].Load())
		if c == 0 {
			c = g.open(&g.flags[i], "flag."+reason.Flag(1<<i).String())
		}
		s.Inc(c)
	}
}

func (g *GenericCodes) open(at *atomic.Uint32, name string) Counter {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.registry.Counter(g.prefix + name)
	at.Store(uint32(c))
	return c
}
