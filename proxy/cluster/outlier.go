package cluster

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// outlier ejects the hosts of a cluster that fail more than they should (clusters.md 7.2). Guarded by the
// cluster's mu, but for what atomics say.
//
//	host:  in --(run of failures, bad rate; within max_ejection_percent, enforced)--> ejected
//	       ejected --(base * times ejected, at most max; or an active check succeeds)--> in
type outlier struct {
	c     *Cluster
	conf  *conf.OutlierDetection
	stats *stats.OutlierStats
	log   *slog.Logger
	ints  map[string]*runtime.Uint
	rows  *thresholds

	ejected int
	// average and limit are of the latest sweep, by kind of rate, for /clusters; -1: none.
	average, limit [numRates]atomic.Uint64 // math.Float64bits
}

// ejection is what outlier detection knows of one host.
type ejection struct {
	out     bool
	at      time.Time
	jitter  time.Duration
	backoff uint32 // times base_ejection_time
	last    HostLoad
	rate    [numRates]atomic.Uint64 // of the latest sweep; math.Float64bits, of -1: none
}

// The kinds of rates.
const (
	answers  = iota // of answers
	connects        // of tries to get one, where those are counted apart
	numRates
)

// reason is why a host is ejected; it chooses the enforcing percentage and the counters.
type outlierReason struct {
	enforcing          *runtime.Uint
	detected, enforced *stats.ColdCounter
	text               string
}

func newOutlier(c *Cluster, l *runtime.Loader, s *stats.OutlierStats, log *slog.Logger) *outlier {
	k := c.Conf.Outlier
	o := &outlier{c: c, conf: k, stats: s, log: log, ints: make(map[string]*runtime.Uint)}
	for key, def := range map[string]uint64{
		"consecutive_5xx": uint64(k.Consecutive5xx), "consecutive_gateway_failure": uint64(k.ConsecutiveGateway),
		"consecutive_local_origin_failure": uint64(k.ConsecutiveLocal),
		"interval_ms":                      ms(k.Interval), "base_ejection_time_ms": ms(k.BaseEjection), "max_ejection_time_ms": ms(k.MaxEjection),
		"max_ejection_time_jitter_ms": ms(k.EjectionJitter), "max_ejection_percent": uint64(k.MaxEjectionPercent),
		"enforcing_consecutive_5xx": uint64(k.Enforcing5xx), "enforcing_consecutive_gateway_failure": uint64(k.EnforcingGateway),
		"enforcing_consecutive_local_origin_failure": uint64(k.EnforcingLocal),
		"enforcing_success_rate":                     uint64(k.EnforcingSuccessRate), "enforcing_local_origin_success_rate": uint64(k.EnforcingLocalSuccessRate),
		"enforcing_failure_percentage": uint64(k.EnforcingFailurePercentage), "enforcing_failure_percentage_local_origin": uint64(k.EnforcingLocalFailurePercentage),
		"success_rate_minimum_hosts": uint64(k.SuccessRateMinHosts), "success_rate_request_volume": uint64(k.SuccessRateVolume),
		"success_rate_stdev_factor": uint64(k.SuccessRateStdevFactor), "failure_percentage_threshold": uint64(k.FailurePercentage),
		"failure_percentage_minimum_hosts": uint64(k.FailurePercentageMinHosts), "failure_percentage_request_volume": uint64(k.FailurePercentageVolume),
	} {
		o.ints[key] = l.Uint("outlier_detection."+key, def)
	}
	o.rows = &thresholds{o.ints["consecutive_5xx"], o.ints["consecutive_gateway_failure"], o.ints["consecutive_local_origin_failure"]}
	for kind := range numRates {
		o.average[kind].Store(none)
		o.limit[kind].Store(none)
	}
	return o
}

var none = math.Float64bits(-1)

func ms(d time.Duration) uint64 { return uint64(d / time.Millisecond) }

func (o *outlier) thresholds() *thresholds { return o.rows }

func (o *outlier) value(key string) uint64 { return o.ints[key].Load() }

func (o *outlier) duration(key string) time.Duration {
	return time.Duration(o.value(key)) * time.Millisecond
}

func (o *outlier) interval() time.Duration { return max(time.Millisecond, o.duration("interval_ms")) }

// inARow ejects a host for a run of failures, and begins a new run. It says whether the host's flags changed.
func (o *outlier) inARow(h *Host, kind int) bool {
	h.record.consecutive[kind].Store(0)
	if h.ejection.out {
		return false
	}
	s := o.stats
	r := outlierReason{o.ints["enforcing_consecutive_5xx"], s.DetectedConsecutive5xx, s.EnforcedConsecutive5xx, "consecutive 5xx"}
	switch kind {
	case consecutiveGateway:
		r = outlierReason{o.ints["enforcing_consecutive_gateway_failure"], s.DetectedConsecutiveGatewayFailure, s.EnforcedConsecutiveGatewayFailure, "consecutive gateway failures"}
	case consecutiveLocal:
		r = outlierReason{o.ints["enforcing_consecutive_local_origin_failure"], s.DetectedConsecutiveLocalOriginFailure, s.EnforcedConsecutiveLocalOriginFailure, "consecutive failures without an answer"}
	}
	return o.eject(h, &r)
}

// eject takes a host out unless as many as may be are out already, or chance says that this one is only to be counted.
func (o *outlier) eject(h *Host, r *outlierReason) bool {
	r.detected.Inc()
	total := len(o.c.hosts.Load().Hosts)
	percent := 100 * float64(o.ejected) / float64(max(1, total))
	if percent >= float64(min(100, o.value("max_ejection_percent"))) && !(o.conf.AlwaysEjectOne && o.ejected == 0) {
		o.stats.EjectionsOverflow.Inc()
		return false
	}
	if rand.Uint64N(100) >= r.enforcing.Load() {
		return false
	}
	e := h.ejection
	base, most := o.times()
	if time.Duration(e.backoff)*base < most+base {
		e.backoff++
	}
	e.out, e.at, e.jitter = true, time.Now(), 0
	if j := o.duration("max_ejection_time_jitter_ms"); j > 0 {
		e.jitter = rand.N(j + time.Millisecond)
	}
	o.ejected++
	o.stats.EjectionsActive.Set(int64(o.ejected))
	o.stats.EjectionsEnforcedTotal.Inc()
	r.enforced.Inc()
	o.log.Warn("host ejected", "cluster", o.c.Conf.Name, "host", h.AddrText, "why", r.text)
	return h.mark(FailedOutlier, true)
}

func (o *outlier) times() (base, most time.Duration) {
	base = o.duration("base_ejection_time_ms")
	return base, max(base, o.duration("max_ejection_time_ms"))
}

// back lets a host in again; runs of failures begin anew.
func (o *outlier) back(h *Host) {
	h.ejection.out = false
	o.ejected--
	o.stats.EjectionsActive.Set(int64(o.ejected))
	for kind := range numConsecutive {
		h.record.consecutive[kind].Store(0)
	}
	h.mark(FailedOutlier, false)
	o.log.Info("host is back", "cluster", o.c.Conf.Name, "host", h.AddrText)
}

// checkedHealthy ends the ejection of a host whose active check succeeded.
func (o *outlier) checkedHealthy(h *Host) {
	if o.conf.UnejectOnHealthCheck && h.ejection.out {
		o.back(h)
	}
}

// forget takes a host that left out of the count.
func (o *outlier) forget(h *Host) {
	if h.ejection != nil && h.ejection.out {
		h.ejection.out = false
		o.ejected--
		o.stats.EjectionsActive.Set(int64(o.ejected))
	}
}

// sweep is the end of an interval: ejections whose time is up end, and rates are looked at. It says whether
// flags changed.
func (o *outlier) sweep(hosts []*Host, totals map[*Host]*HostLoad) (changed bool) {
	base, most := o.times()
	at := time.Now()
	for _, h := range hosts {
		e := h.ejection
		switch {
		case !e.out:
			if e.backoff > 0 {
				e.backoff--
			}
		case at.Sub(e.at) >= min(time.Duration(e.backoff)*base, most)+e.jitter:
			o.back(h)
			changed = true
		}
	}
	for kind := range numRates {
		if kind == connects && !o.conf.Split {
			continue
		}
		changed = o.judgeRates(kind, hosts, totals) || changed
	}
	for h, l := range totals {
		if h.ejection != nil {
			h.ejection.last = *l
		}
	}
	return changed
}

// rated is a host with its success rate.
type rated struct {
	h    *Host
	rate float64
}

// judgeRates ejects hosts whose success rate is far below the others', or whose failures are too many.
func (o *outlier) judgeRates(kind int, hosts []*Host, totals map[*Host]*HostLoad) (changed bool) {
	volume, failureVolume := o.value("success_rate_request_volume"), o.value("failure_percentage_request_volume")
	var valid, failing []rated
	sum := 0.0
	o.average[kind].Store(none)
	o.limit[kind].Store(none)
	for _, h := range hosts {
		h.ejection.rate[kind].Store(none)
		l := totals[h]
		if l == nil || h.ejection.out {
			continue
		}
		n, good := l.Answers-h.ejection.last.Answers, l.GoodAnswers-h.ejection.last.GoodAnswers
		if kind == connects {
			n, good = l.Tries-h.ejection.last.Tries, l.GoodTries-h.ejection.last.GoodTries
		}
		if n == 0 {
			continue
		}
		rate := 100 * float64(good) / float64(n)
		if n >= min(volume, failureVolume) {
			h.ejection.rate[kind].Store(math.Float64bits(rate))
		}
		if n >= volume {
			valid = append(valid, rated{h, rate})
			sum += rate
		}
		if n >= failureVolume {
			failing = append(failing, rated{h, rate})
		}
	}
	rate, share := o.rateReasons(kind)
	if len(valid) > 0 && uint64(len(valid)) >= o.value("success_rate_minimum_hosts") {
		average, limit := successLimit(valid, sum, float64(o.value("success_rate_stdev_factor"))/1000)
		o.average[kind].Store(math.Float64bits(average))
		o.limit[kind].Store(math.Float64bits(limit))
		for _, v := range valid {
			if v.rate < limit && !v.h.ejection.out {
				changed = o.eject(v.h, &rate) || changed
			}
		}
	}
	if len(failing) > 0 && uint64(len(failing)) >= o.value("failure_percentage_minimum_hosts") {
		for _, v := range failing {
			if 100-v.rate >= float64(o.value("failure_percentage_threshold")) && !v.h.ejection.out {
				changed = o.eject(v.h, &share) || changed
			}
		}
	}
	return changed
}

func (o *outlier) rateReasons(kind int) (rate, share outlierReason) {
	s := o.stats
	if kind == connects {
		return outlierReason{o.ints["enforcing_local_origin_success_rate"], s.DetectedLocalOriginSuccessRate, s.EnforcedLocalOriginSuccessRate, "rate of answers at all"},
			outlierReason{o.ints["enforcing_failure_percentage_local_origin"], s.DetectedFailurePercentageLocalOrigin, s.EnforcedFailurePercentageLocalOrigin, "share without an answer"}
	}
	return outlierReason{o.ints["enforcing_success_rate"], s.DetectedSuccessRate, s.EnforcedSuccessRate, "success rate"},
		outlierReason{o.ints["enforcing_failure_percentage"], s.DetectedFailurePercentage, s.EnforcedFailurePercentage, "failure percentage"}
}

// successLimit returns the mean of the rates, and the mean less their standard deviation times factor (CL-45).
func successLimit(hosts []rated, sum, factor float64) (mean, limit float64) {
	mean = sum / float64(len(hosts))
	variance := 0.0
	for _, v := range hosts {
		variance += (v.rate - mean) * (v.rate - mean)
	}
	return mean, mean - factor*math.Sqrt(variance/float64(len(hosts)))
}

// SuccessRate returns a host's rate of good answers in the latest interval of outlier detection, or with
// connects of answers at all; -1 when it is not known.
func (h *Host) SuccessRate(connect bool) float64 {
	if h.ejection == nil {
		return -1
	}
	kind := answers
	if connect {
		kind = connects
	}
	return math.Float64frombits(h.ejection.rate[kind].Load())
}

// OutlierRates returns the mean of the hosts' success rates and the one below which they are ejected, as of
// the latest interval; -1 when there were not enough requests. ok: the cluster has outlier detection.
func (c *Cluster) OutlierRates(connect bool) (average, limit float64, ok bool) {
	if c.monitor == nil || c.monitor.outlier == nil {
		return -1, -1, false
	}
	kind := answers
	if connect {
		kind = connects
	}
	o := c.monitor.outlier
	return math.Float64frombits(o.average[kind].Load()), math.Float64frombits(o.limit[kind].Load()), true
}
