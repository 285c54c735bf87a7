package tcp

import (
	"time"

	"github.com/sluiceproxy/sluice/proxy/cluster"
)

// lookup is a session waiting for a cluster that is looked up on demand (TCP-30). Made for each lookup,
// since its answer may still be on the way when the session is over.
type lookup struct {
	s       *session // nil once the session does not wait any more; loop-owned
	name    []byte
	outcome cluster.Outcome
	request *cluster.OnDemandRequest
}

// answerWait bounds how long an answer tries to reach a busy loop.
const answerWait = 10 * time.Second

// lookUp asks for a cluster that is not there.
func (s *session) lookUp(name []byte) {
	s.a.w.Stats.Inc(s.cfg.onDemand.Attempt)
	s.state = lookingUp
	l := &lookup{s: s, name: append([]byte(nil), name...)}
	s.lookup = l
	w := s.a.w
	l.request = w.RequestOnDemand(s.cfg.lookup, string(name), s.cfg.conf.OnDemand.Timeout, func(o cluster.Outcome) {
		l.outcome = o
		w.Do(l.answered, answerWait)
	})
}

// cancel ends the wait.
func (l *lookup) cancel() {
	l.s = nil
	l.request.Cancel()
}

// answered goes on with the session. Runs on the loop.
func (l *lookup) answered() {
	s := l.s
	if s == nil {
		return
	}
	s.lookup, s.state = nil, backingOff // nothing to take back
	st := s.cfg.onDemand
	switch l.outcome {
	case cluster.OnDemandFound:
		s.a.w.Stats.Inc(st.Success)
		s.found(l.name)
	case cluster.OnDemandTimeout:
		s.a.w.Stats.Inc(st.Timeout)
		s.noCluster()
	default:
		s.a.w.Stats.Inc(st.Missing)
		s.noCluster()
	}
}

// found connects to the cluster that was looked up.
func (s *session) found(name []byte) {
	s.upstream = s.a.w.Cluster(name)
	if s.upstream == nil { // gone again
		s.noCluster()
		return
	}
	s.dial(s.criteriaOf(name))
	s.arm()
}

// criteriaOf returns the criteria that come with a cluster.
func (s *session) criteriaOf(name []byte) *cluster.Criteria {
	for i := range s.cfg.targets {
		if string(s.cfg.targets[i].name) == string(name) {
			return s.cfg.targets[i].criteria
		}
	}
	return s.cfg.targets[0].criteria
}
