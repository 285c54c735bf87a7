package cluster

// SetLocal says which cluster this process is one of (cluster_manager.local_cluster_name) and where it is;
// zone aware routing needs both. Before the first Apply.
func (m *Manager) SetLocal(name, region, zone, subZone string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.localName, m.localPlace = name, place{region, zone, subZone}
}

// zone returns what zone aware routing of c knows now: the local cluster's healthy hosts by place.
func (m *Manager) zone(c *Cluster) *zoneView {
	local := m.local.Load()
	if local == nil {
		return nil
	}
	set := local.hosts.Load()
	z := c.Conf.ZoneAware
	v := &zoneView{
		own: m.localPlace, local: make(map[place]int), minSize: c.knobs.zoneMinSize.Load(),
		panic: c.plansPanic(set), conf: z, stats: c.zoneStats,
	}
	for _, h := range set.Healthy {
		v.local[placeOf(h)]++
		v.all++
	}
	return v
}

// plansPanic says whether too few hosts of the most preferred level of a set are healthy.
func (c *Cluster) plansPanic(set *HostSet) bool {
	return set.Levels[0].panics(min(100, c.knobs.panicThreshold.Load()))
}

// localChanged makes zone aware clusters share out anew.
func (m *Manager) localChanged() {
	for _, c := range m.Set().Clusters() {
		if c.zoneOf != nil && c != m.local.Load() {
			c.mu.Lock()
			c.show(true)
			c.mu.Unlock()
		}
	}
}
