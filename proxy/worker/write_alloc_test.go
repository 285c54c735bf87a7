//go:build !race && !sluicedebug

package worker

import (
	"testing"
	"time"
)

// What is held back until the event ends costs no memory of its own.
func TestWriteSoonAllocatesNothing(t *testing.T) {
	w := newWorker(t)
	c, q, got := dialled(t, w)
	p := make([]byte, 6000)
	w.Do(func() {
		send := func() {
			w.WriteSoon(c, p)
			w.WriteSoon(c, p[:100])
			(*sendGathered)(w).Run(w.Loop)
		}
		send()
		if n := testing.AllocsPerRun(100, send); n != 0 {
			t.Errorf("%v allocations", n)
		}
		c.CloseWrite()
	}, time.Minute)
	if b := <-got; len(b) != 102*6100 {
		t.Errorf("%d bytes", len(b))
	}
	<-q.closed
}
