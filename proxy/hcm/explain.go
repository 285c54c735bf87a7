package hcm

import (
	"fmt"
	"net/netip"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Explanation says what a connection manager does with a request, and why.
type Explanation struct {
	// Refused is why the request is answered before a route is looked for, None when it is not; Details is
	// what the access log would say.
	Refused reason.Reason
	Details string
	// Client is the address the request is trusted to come from; Internal says whether it counts as one
	// from inside (RT-92).
	Client   netip.Addr
	Internal bool
	Route    route.Explanation
	// Location is what a redirect leads to.
	Location string
	// Cluster is the name a Forward route leads to; Known whether there is such a cluster.
	Cluster string
	Known   bool
	// Hosts are the hosts of that cluster and Picked the one this request would have now; nil for none.
	Hosts  *cluster.HostSet
	Picked *cluster.Host
	// Hash is what the host is chosen by where the route says so.
	Hash route.Hash
	// Received and Sent are the request as it came and as the upstream gets it, pseudo-headers first.
	Received, Sent [][2]string
}

// Explain says what becomes of a request whose head, in HTTP/1 form, came over a connection with these
// facts. It takes the steps of onRequestHead and forward on a stream of its own, but sends and counts
// nothing: w must be a shadow of its worker. On the loop. Cold.
func (c *Config) Explain(w *worker.Worker, head []byte, conn *streaminfo.Connection, random uint64) (*Explanation, error) {
	st := &stream{w: w, cfg: c}
	st.info.Conn, st.info.RemoteAddress, st.info.StreamID = conn, conn.Remote, random
	st.info.Request = &st.req
	h := &st.req
	n, e := http1.ParseRequest(head, 0, &c.parse, h)
	if e != http1.OK || n == 0 {
		return nil, fmt.Errorf("this is no request the connection manager would take: %s", e)
	}
	h.Retain()
	st.info.Protocol = h.Version
	out := &Explanation{Received: fields(h), Client: conn.Remote.Addr()}
	if h.HasUpgrade || h.Method == header.MethodConnect {
		st.asksForTunnel()
	}
	switch r, e := st.prepare(); {
	case e != http1.OK:
		out.Refused, out.Details = reason.DownstreamProtocol, e.String()
		return out, nil
	case r != reason.None:
		if out.Refused, out.Details = r, r.Entry().Details; r == reason.PathRedirect {
			out.Location = h.Text(h.Path)
		}
		return out, nil
	}
	out.Client, out.Internal = st.info.RemoteAddress.Addr(), st.internal()
	if st.tun.kind != noTunnel && st.route.Kind != route.NoRoute && !st.admitsTunnel() {
		out.Refused, out.Details = reason.UpgradeRefused, reason.UpgradeRefused.Entry().Details
	}
	in := st.routeInput()
	out.Route = st.table.Explain(&in)
	switch res := &st.route; {
	case out.Refused != reason.None:
	case res.Kind == route.RequireTLS || res.Kind == route.Redirect:
		loc, _ := res.AppendLocation(nil, h, h.Get(header.XForwardedProto), &st.info)
		out.Location = string(loc)
	case res.Kind == route.Forward:
		st.explainForward(out)
	}
	return out, nil
}

// explainForward is forward without an attempt.
func (st *stream) explainForward(out *Explanation) {
	h, action := &st.req, st.route.Route.Config.Action
	name := st.route.Target.Cluster(h)
	out.Cluster = string(name)
	hostname := ""
	if u := st.w.Cluster(name); u != nil {
		out.Known, out.Hosts = true, u.C.Hosts()
		st.cluster = u
		st.hashRequest()
		out.Hash = st.hash
		if e := u.PickFor(st.choose()); e != nil {
			out.Picked, hostname = e.Host, e.Host.Hostname
		}
		st.routeTimers(action)
		st.w.Loop.Disarm(&st.timer)
	}
	st.prepareUpstream(action, hostname)
	out.Sent = fields(h)
}

// fields lists a request head, pseudo-headers first.
func fields(h *header.Head) [][2]string {
	out := [][2]string{
		{":method", h.Text(h.MethodText)}, {":authority", h.Text(h.Authority)}, {":path", h.Text(h.Path)},
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead {
			out = append(out, [2]string{string(h.NameOf(f)), h.Text(f.Value)})
		}
	}
	return out
}
