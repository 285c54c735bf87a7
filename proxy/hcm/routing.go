package hcm

import (
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// findTable takes the route table of the request, whose head must be as it came: what the connection
// manager does to it comes later (routing.md 1, step 2). The stream keeps the table.
func (st *stream) findTable() {
	scratch := st.w.Loop.Scratch()
	st.table = st.cfg.routes.Table(&st.req, &scratch)
}

// findRoute looks the route up in the stream's table. Asked again, by a filter that changed the head, it
// draws no new random number (RT-1).
func (st *stream) findRoute() {
	in := st.routeInput()
	st.route = st.table.Match(&in)
	res := &st.route
	st.info.VirtualHostName, st.info.RouteName, st.info.VirtualClusterName = "", "", ""
	if res.VirtualHost != nil {
		st.info.VirtualHostName = res.VirtualHost.Config.Name
	}
	if res.Route != nil {
		st.info.RouteName = res.Route.Config.Name
	}
	if res.Virtual != nil {
		st.info.VirtualClusterName = res.Virtual.Name
	}
}

// routeInput is what the stream's route is chosen by.
func (st *stream) routeInput() route.Input {
	return route.Input{Head: &st.req, Info: &st.info, Internal: st.internal(), Random: st.info.StreamID, Scratch: st.w.Loop.Scratch()}
}

// hashRequest evaluates the hash policies; before the head is changed for the upstream.
func (st *stream) hashRequest() {
	in := st.routeInput()
	st.hash = st.route.Hash(&in)
}

// choose returns what the request says about the host it wants: its hash and its subset criteria. It is
// the loop's, valid until the next call for any stream; nil when the request says nothing.
func (st *stream) choose() *cluster.Choice {
	if o := st.cluster.C.Conf.OriginalDst; o != nil {
		return st.original(o)
	}
	if st.cluster.C.Cache() != nil {
		return st.named()
	}
	criteria := st.criteria()
	if !st.hash.OK && criteria == nil {
		return nil
	}
	c := &st.w.Choice
	*c = cluster.Choice{Hash: st.hash.Value, HasHash: st.hash.OK, Criteria: criteria}
	return c
}

// original says where the request wants to go in an ORIGINAL_DST cluster (clusters.md 2).
func (st *stream) original(o *conf.OriginalDstOptions) *cluster.Choice {
	c := &st.w.Choice
	*c = cluster.Choice{Destination: st.info.Conn.Restored()}
	if o.UseHTTPHeader && o.HTTPHeader == ":authority" { // UP-52
		c.DestinationText = st.req.Bytes(st.req.Authority)
		if st.tun.kind == connectTunnel {
			c.DestinationText = st.req.Bytes(st.tun.authority)
		}
	} else if o.UseHTTPHeader {
		if i := st.req.Find(st.cluster.OriginalHeader, o.HTTPHeader); i >= 0 {
			c.DestinationText = st.req.Bytes(st.req.Fields[i].Value)
		}
	}
	if len(c.DestinationText) == 0 && o.MetadataKey != "" {
		c.DestinationText, _ = st.info.DynamicMetadata(o.MetadataNamespace, o.MetadataKey)
	}
	return c
}

// named says where the request goes in a dynamic forward proxy. What the first try has found out holds for the
// others, whatever the route makes of the authority.
func (st *stream) named() *cluster.Choice {
	if len(st.goesTo) == 0 {
		st.goesTo, _ = st.cluster.AppendName(st.goesTo, st.destination(), st.info.Conn)
	}
	c := &st.w.Choice
	*c = cluster.Choice{Name: st.goesTo}
	return c
}

// destination is the request's authority; of a CONNECT with the port that was stripped for matching.
func (st *stream) destination() []byte {
	h := &st.req
	if port := st.strippedPort(); port != nil {
		return append(append(append(st.w.Loop.Scratch()[:0], h.Bytes(h.Authority)...), ':'), port...)
	}
	return h.Bytes(h.Authority)
}

// lbNamespace is the metadata that balancers read.
const lbNamespace = "envoy.lb"

// criteria are those of the route and its cluster, with the connection's dynamic metadata over them
// (RT-80); nil for none.
func (st *stream) criteria() *cluster.Criteria {
	configured := st.route.Target.Criteria
	x := st.info.Conn.Extra
	if x == nil {
		return configured
	}
	at := 0
	key, value, ok := x.Metadata.Next(lbNamespace, &at)
	if !ok {
		return configured
	}
	own := &st.w.Criteria
	own.Reset()
	own.Merge(configured)
	for ; ok; key, value, ok = x.Metadata.Next(lbNamespace, &at) {
		own.SetText(key, value)
	}
	return own
}

// visitVirtual calls f for the statistics of the request's virtual cluster and of its route, where it has
// such (router.md 11.4).
func (st *stream) visitVirtual(f func(s *stats.Shard, v *stats.VirtualStats)) {
	if v := st.route.Virtual; v != nil && v.Stats != nil {
		f(st.w.Stats, v.Stats)
	}
	if r := st.route.Route; r != nil && r.Stats != nil {
		f(st.w.Stats, r.Stats)
	}
}

// hasVirtual says whether visitVirtual has anything to visit.
func (st *stream) hasVirtual() bool {
	return st.route.Virtual != nil || st.route.Route != nil && st.route.Route.Stats != nil
}

func countVirtualRequest(s *stats.Shard, v *stats.VirtualStats) { s.Inc(v.UpstreamRqTotal) }
func countVirtualTimeout(s *stats.Shard, v *stats.VirtualStats) { s.Inc(v.UpstreamRqTimeout) }

func countVirtualRetry(s *stats.Shard, v *stats.VirtualStats)        { s.Inc(v.UpstreamRqRetry) }
func countVirtualRetrySuccess(s *stats.Shard, v *stats.VirtualStats) { s.Inc(v.UpstreamRqRetrySuccess) }
func countVirtualRetryOverflow(s *stats.Shard, v *stats.VirtualStats) {
	s.Inc(v.UpstreamRqRetryOverflow)
}
func countVirtualRetryLimit(s *stats.Shard, v *stats.VirtualStats) {
	s.Inc(v.UpstreamRqRetryLimitExceeded)
}

// chargeVirtual counts a response with the cluster's status.
func (st *stream) chargeVirtual(ms uint64) {
	if v := st.route.Virtual; v != nil && v.Stats != nil {
		v.Stats.Codes.ChargePlain(st.w.Stats, st.clusterStatus, ms)
	}
	if r := st.route.Route; r != nil && r.Stats != nil {
		r.Stats.Codes.ChargePlain(st.w.Stats, st.clusterStatus, ms)
	}
}

// durationLimit sets the deadline of max_stream_duration: grpc-timeout where the route reads it, else the
// route's, else the manager's, which begin has set (routing.md 7.2).
func (st *stream) durationLimit(a *conf.RouteAction) {
	limit, there := a.MaxStreamDuration, a.HasMaxStreamDuration
	if a.GRPCTimeoutMax != nil {
		if d, ok := grpcTimeout(&st.req); ok {
			if most := *a.GRPCTimeoutMax; most > 0 && d > most {
				d = most
			}
			limit, there = max(d-a.GRPCTimeoutOffset, 1), true // at once, where the offset takes it all
		}
	}
	if !there {
		return
	}
	st.deadlines[deadlineDuration] = 0
	if limit > 0 {
		st.deadlines[deadlineDuration] = st.info.Start + int64(limit)
		st.arm()
	}
}

// responseLimit is the route's timeout as far as headers for the router do not say otherwise: none with
// max_stream_duration (RT-77), grpc-timeout with max_grpc_timeout.
func (st *stream) responseLimit(a *conf.RouteAction) time.Duration {
	switch {
	case a.NewTimeouts, a.HasMaxStreamDuration:
		return 0
	case a.MaxGRPCTimeout == nil || !st.isGRPC():
		return a.Timeout
	}
	d, ok := grpcTimeout(&st.req)
	if !ok {
		d = 0 // gRPC's own default: no limit
	}
	if d > a.MaxGRPCTimeoutOffset {
		d -= a.MaxGRPCTimeoutOffset
	}
	if most := *a.MaxGRPCTimeout; most > 0 && (d == 0 || d > most) {
		d = most
	}
	return d
}

// flushTimeout is how long a whole response may make no progress towards the client (routing.md 7.2).
func (st *stream) flushTimeout() time.Duration {
	c := st.cfg.conf
	var a *conf.RouteAction
	if st.route.Kind == route.Forward {
		a = st.route.Route.Config.Action
	}
	switch {
	case a != nil && a.HasFlushTimeout:
		return a.FlushTimeout
	case c.HasStreamFlushTimeout:
		return c.StreamFlushTimeout
	case a != nil && a.HasIdleTimeout:
		return a.IdleTimeout
	}
	return c.StreamIdleTimeout
}

// grpcTimeout reads grpc-timeout: at most eight digits and a unit.
func grpcTimeout(h *header.Head) (time.Duration, bool) {
	i := h.Index(header.GrpcTimeout)
	if i < 0 {
		return 0, false
	}
	v := h.Bytes(h.Fields[i].Value)
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	n := time.Duration(0)
	for _, c := range v[:len(v)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + time.Duration(c-'0')
	}
	unit := time.Duration(0)
	switch v[len(v)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	// 99,999,999 hours are more than a Duration holds.
	const most = time.Duration(1 << 62)
	if n > most/unit {
		return most, true
	}
	return n * unit, true
}

// appendGRPCTimeout writes d as grpc-timeout does: in the least unit from the millisecond on that keeps to
// eight digits.
func appendGRPCTimeout(b []byte, d time.Duration) []byte {
	unit, name := time.Millisecond, byte('m')
	for _, next := range [...]struct {
		unit time.Duration
		name byte
	}{{time.Second, 'S'}, {time.Minute, 'M'}, {time.Hour, 'H'}} {
		if d/unit < 1e8 {
			break
		}
		unit, name = next.unit, next.name
	}
	return append(strconv.AppendInt(b, int64(d/unit), 10), name)
}
