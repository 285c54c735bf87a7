//go:build !race

package pool

import "testing"

func TestLendingAnIdleConnectionAllocatesNothing(t *testing.T) {
	f := open(t, Options{IdleTimeout: 1 << 40})
	f.idle(1)
	k := newCall()
	var allocs float64
	f.on(func() {
		allocs = testing.AllocsPerRun(1000, func() {
			f.pool.Acquire(&k.Request)
			k.conn.Release(true)
		})
	})
	if allocs != 0 {
		t.Errorf("%v allocations per request", allocs)
	}
}

func TestWaitingAndCancellingAllocateNothing(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	f.lent()
	k := newCall()
	var allocs float64
	f.on(func() {
		allocs = testing.AllocsPerRun(1000, func() {
			f.pool.Acquire(&k.Request)
			f.pool.Cancel(&k.Request)
		})
	})
	if allocs != 0 {
		t.Errorf("%v allocations per request", allocs)
	}
}

func TestHandingOverAllocatesNothing(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	holder := f.lent()
	k := newCall()
	c := holder.conn
	var allocs float64
	f.on(func() {
		allocs = testing.AllocsPerRun(1000, func() {
			f.pool.Acquire(&k.Request)
			c.Release(true)
			(*handoff)(f.pool).Run(f.loop)
			f.pool.handing = true // as before its deferred run: nothing more is queued
		})
	})
	if allocs != 0 {
		t.Errorf("%v allocations per handoff", allocs)
	}
}
