//go:build !race

package pool

import "testing"

func TestAStreamOfAConnectionAllocatesNothing(t *testing.T) {
	m := openMux(t, Options{IdleTimeout: 1 << 40})
	first := m.served()
	m.takes(100)
	k := newCall()
	var allocs float64
	m.on(func() {
		allocs = testing.AllocsPerRun(1000, func() {
			m.m.Acquire(&k.Request)
			k.done()
		})
	})
	if allocs != 0 {
		t.Errorf("%v allocations per stream", allocs)
	}
	m.finish(first)
}

func TestWaitingForAStreamAllocatesNothing(t *testing.T) {
	m := openMux(t, Options{})
	m.breaker.maxConnections = 1
	holder := m.served()
	m.takes(1)
	k := newCall()
	var allocs float64
	m.on(func() {
		allocs = testing.AllocsPerRun(1000, func() {
			m.m.Acquire(&k.Request)
			holder.done()
			(*muxHandoff)(m.m).Run(m.loop)
			m.m.handing = true // as before its deferred run: nothing more is queued
			holder.session, k.session = k.session, nil
			holder.session.streams[0] = holder
		})
	})
	if allocs != 0 {
		t.Errorf("%v allocations per stream", allocs)
	}
}
