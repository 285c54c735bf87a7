package cluster

import (
	"time"

	"github.com/sluiceproxy/sluice/proxy/stats"
)

// updateMerge gathers changes of health and weight, so that many in a short time make one new set of
// hosts (CL-24): the first after a quiet window is shown at once, the others at the end of a window that
// begins with the first of them. A change of membership is always shown at once, with all that waits.
type updateMerge struct {
	stats *stats.ClusterManagerStats // nil: tests
	last  time.Time                  // of the last set
	timer *time.Timer                // nil: nothing waits
}

// show makes a new set of hosts, now or at the end of the window. mergeable: only health or weight has
// changed. The caller holds mu.
func (c *Cluster) show(mergeable bool) {
	m, window, now := &c.merging, c.Conf.UpdateMergeWindow, time.Now()
	late := now.Sub(m.last) > window
	if mergeable && window > 0 && !late && c.published {
		if m.timer == nil {
			m.timer = time.AfterFunc(window, c.merged)
		}
		return
	}
	if m.stats != nil && window > 0 && c.published {
		if mergeable {
			m.stats.UpdateOutOfMergeWindow.Inc()
		}
		if m.timer != nil {
			m.stats.UpdateMergeCancelled.Inc()
		}
	}
	m.drop()
	m.last = now
	c.rebuild()
	c.gauges()
}

// merged shows what waited.
func (c *Cluster) merged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.merging
	if m.timer == nil {
		return // shown already, or the cluster is gone
	}
	m.timer, m.last = nil, time.Now()
	if m.stats != nil {
		m.stats.ClusterUpdatedViaMerge.Inc()
	}
	c.rebuild()
	c.gauges()
}

func (m *updateMerge) drop() {
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
}
