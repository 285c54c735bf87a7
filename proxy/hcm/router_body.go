package hcm

import (
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// keptBody is what of a request's body has come, while it may be needed again (ROUTER-60). Bounded by limit;
// what passes it is given up, and with it retries, mirrors and internal redirects (ROUTER-62).
type keptBody struct {
	data  buf.Chain
	limit int
	// keeps: what comes is kept. lost: it was more than the limit.
	keeps, lost bool
}

// drop forgets what was kept, for nobody needs it any more.
func (b *keptBody) drop() {
	b.keeps = false
	b.data.Release()
}

// keepData keeps request data for another try, and says whether the stream goes on.
func (t *tries) keepData(p []byte) bool {
	b := &t.body
	if !b.keeps {
		if t.st.tun.kind != noTunnel {
			t.state.Reset() // what goes through a tunnel goes once
		}
		return true
	}
	if b.data.Len()+len(p) <= b.limit {
		b.data.Append(p)
		return true
	}
	st := t.st
	b.lost = true
	st.w.Stats.Inc(st.cluster.C.Stats.RetryOrShadowAbandoned)
	waits := st.att.state == attemptIdle
	t.mirrors = t.mirrors[:0]
	if !waits {
		if st.att.state == attemptPending {
			b.data.Append(p) // it has been given nothing yet
			b.keeps = false
		} else {
			b.drop()
		}
		t.state.Reset()
		return true
	}
	t.unschedule()
	t.settled()
	st.fail(reason.RetryBufferOverflow, 0)
	return false
}

// sendRequest writes what there is of the request to an attempt that has just got something to write to.
func (a *attempt) sendRequest() {
	st := a.st
	end := st.requestWhole()
	t := st.tries
	if t == nil || t.body.data.Len() == 0 && !(end && st.reqTrail.Count() > 0) {
		a.requestHead(&st.req, end)
		return
	}
	trailers := end && st.reqTrail.Count() > 0
	a.requestHead(&st.req, false)
	c := t.body.data.Front()
	for p := c.Next(); p != nil && a.state == attemptHead; {
		next := c.Next()
		a.requestData(p, end && !trailers && next == nil)
		p = next
	}
	if trailers && a.state == attemptHead {
		a.requestTrailers(&st.reqTrail)
	}
	if t.body.lost {
		t.body.drop()
	}
}
