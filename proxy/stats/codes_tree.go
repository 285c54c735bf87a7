package stats

import (
	"maps"
	"strings"
)

// Response is one response as it is counted by status (router.md 11.3).
type Response struct {
	Status uint16
	Ms     uint64
	// Internal: the request was one of an internal client. Canary: a canary endpoint's response.
	Internal, Canary bool
	// NoCode: neither the status nor its class is counted (suppress_grpc_request_failure_code_stats).
	NoCode bool
	// Zones is what counts responses from the endpoint's zone to this one; nil when one is not known.
	Zones *CodeStats
	// Alt is the tree of the alternative stat name; nil: none.
	Alt *CodeStats
}

// ChargeResponse counts r in this tree and in those it names. Runs on s's loop; allocates only the first
// time a code or a prefix occurs.
func (c *CodeStats) ChargeResponse(s *Shard, r *Response) {
	c.chargeSets(s, r)
	if r.Zones != nil {
		r.Zones.one(plainCodes, s, r)
	}
	if r.Alt != nil {
		r.Alt.chargeSets(s, r)
	}
}

func (c *CodeStats) chargeSets(s *Shard, r *Response) {
	c.one(plainCodes, s, r)
	if r.Internal {
		c.one(internalCodes, s, r)
	} else {
		c.one(externalCodes, s, r)
	}
	if r.Canary {
		c.one(canaryCodes, s, r)
	}
}

func (c *CodeStats) one(set int, s *Shard, r *Response) {
	if !r.NoCode {
		c.charge(set, s, r.Status, r.Ms)
		return
	}
	totals := c.sets[set].totals.Load()
	if totals == nil {
		totals = c.openSet(set)
	}
	s.Inc(totals.Completed)
	s.Record(totals.Time, r.Ms)
}

// ChargeRetry counts a response that led to another try, which counts nowhere else (ROUTER-81).
func (c *CodeStats) ChargeRetry(s *Shard, status uint16, noCode bool) {
	if !noCode {
		c.charge(retryCodes, s, status, 0)
		return
	}
	totals := c.sets[retryCodes].totals.Load()
	if totals == nil {
		totals = c.openSet(retryCodes)
	}
	s.Inc(totals.Completed)
}

const (
	// maxAlts bounds how many alternative names a cluster's statistics have: clients choose them.
	maxAlts    = 64
	maxAltName = 64
	// maxZones bounds the pairs of zones, which the configuration chooses.
	maxZones = 1024
)

// Alt returns the tree below the alternative stat name; nil when the name is not fit for one, or there are
// too many. Allocates the first time a name occurs. Any loop may call it.
func (c *CodeStats) Alt(name []byte) *CodeStats {
	if m := c.alts.Load(); m != nil {
		if t := (*m)[string(name)]; t != nil {
			return t
		}
	}
	if !statName(name) {
		return nil
	}
	return c.tree(&c.alts, string(name), string(name)+".", maxAlts)
}

// Zone returns what counts responses from an endpoint in zone to to a proxy in zone from; nil when one is
// not known. Cold.
func (c *CodeStats) Zone(from, to string) *CodeStats {
	if from == "" || to == "" {
		return nil
	}
	name := Clean(from) + "." + Clean(to)
	return c.tree(&c.zones, name, "zone."+name+".", maxZones)
}

// statName says whether a client may choose the name for statistics.
func statName(name []byte) bool {
	if len(name) == 0 || len(name) > maxAltName {
		return false
	}
	for _, b := range name {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && !strings.ContainsRune("_-.", rune(b)) {
			return false
		}
	}
	return name[0] != '.' && name[len(name)-1] != '.'
}

func (c *CodeStats) tree(all *treesPointer, name, prefix string, limit int) *CodeStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := map[string]*CodeStats{}
	if m := all.Load(); m != nil {
		old = *m
	}
	if t := old[name]; t != nil || len(old) >= limit {
		return t
	}
	t := NewCodeStats(c.registry, c.prefix+prefix)
	next := maps.Clone(old)
	next[name] = t
	all.Store(&next)
	return t
}
