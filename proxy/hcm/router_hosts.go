package hcm

import (
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// hostJudge says which hosts a retry keeps away from (router.md 5.5).
type hostJudge struct {
	policy *conf.RetryPolicy // nil: it keeps away from none
	// used: there has been another try, so that the rest is not empty.
	used  bool
	hosts []*cluster.Host // where the request was; only with previous_hosts
	// priorities are those to keep away from.
	priorities cluster.Tried
	pending    []uint32 // priorities of the tries since the last update
	choice     cluster.Choice
}

func (j *hostJudge) begin(p *conf.RetryPolicy) { j.policy = p }

func (j *hostJudge) reset() {
	j.policy = nil
	if !j.used {
		return
	}
	clear(j.hosts)
	*j = hostJudge{hosts: j.hosts[:0], pending: j.pending[:0]}
}

// add notes where a try was.
func (j *hostJudge) add(e *worker.Endpoint) {
	if j.policy == nil || e == nil {
		return
	}
	j.used = true
	if j.policy.Predicates.PreviousHosts {
		j.hosts = append(j.hosts, e.Host)
	}
	n := j.policy.PriorityUpdateFrequency
	if n == 0 {
		return
	}
	// ROUTER: after every n tries the priorities they were at are kept away from, too.
	if j.pending = append(j.pending, e.Host.Priority); len(j.pending) >= n {
		for _, p := range j.pending {
			j.priorities.Add(p)
		}
		j.pending = j.pending[:0]
	}
}

// Refuses implements cluster.HostJudge.
func (j *hostJudge) Refuses(h *cluster.Host) bool {
	p := &j.policy.Predicates
	if p.OmitCanary && h.Canary {
		return true
	}
	if p.PreviousHosts {
		for _, was := range j.hosts {
			if was == h {
				return true
			}
		}
	}
	for _, m := range p.OmitMetadata {
		if hasMetadata(h, m) {
			return true
		}
	}
	return false
}

func hasMetadata(h *cluster.Host, want conf.LBMetadata) bool {
	for key, value := range want {
		if have, ok := h.Metadata[key]; !ok || have != value {
			return false
		}
	}
	return len(want) > 0
}

// judges says whether there is anything to ask about hosts.
func (j *hostJudge) judges() bool {
	p := j.policy
	return p != nil && (p.Predicates.PreviousHosts || p.Predicates.OmitCanary || len(p.Predicates.OmitMetadata) > 0)
}

// pick chooses the host of the next try, in the cluster as it is now (ROUTER-26); nil: there is none.
func (t *tries) pick() *worker.Endpoint {
	st := t.st
	u := st.w.Cluster([]byte(st.cluster.C.Conf.Name))
	if u == nil {
		return nil
	}
	switch {
	case u == st.cluster:
	case t.others(nil):
		u = st.cluster // which the other tries are counted in
	default:
		st.cluster = u
	}
	c := st.choose()
	j := &t.judge
	if j.policy != nil {
		j.used = true
		if c == nil {
			j.choice = cluster.Choice{}
			c = &j.choice
		}
		if j.policy.PriorityUpdateFrequency > 0 {
			c.Tried = &j.priorities
		}
		if j.judges() {
			c.Judge, c.Again = j, j.policy.PredicateAttempts
		}
	}
	e := u.PickFor(c)
	if e == nil {
		st.w.Stats.Inc(u.C.Stats.UpstreamCxNoneHealthy)
	}
	return e
}
