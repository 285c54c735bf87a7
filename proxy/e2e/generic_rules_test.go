package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/generic"
)

// GP-10: each request takes a connection of the pool and gives it back.
func TestGP10UnboundUsesThePool(t *testing.T) {
	harness.NoLeaks(t)
	o := newLineOrigin(t)
	p := startLines(t, "ids", false, harness.GenericTopology{}, o)
	c := p.Dial().Send("1 get a\n2 get b\n")
	first, second := o.await(t, "1 get a"), o.await(t, "2 get b")
	if first == second {
		t.Fatal("two requests at once share a connection")
	}
	o.peer(second).Send("2 200 b\n")
	c.WantText("2 200 b\n")
	o.peer(first).Send("1 200 a\n")
	c.WantText("1 200 a\n")
	for range 3 { // one after the other: the connections there are serve them
		c.Send("3 get c\n")
		o.peer(o.await(t, "3 get c")).Send("3 200 c\n")
		c.WantText("3 200 c\n")
	}
	if n := o.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	p.WantStats(harness.Stats{
		onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_rq_total": 5, onOrigin + "upstream_rq_active": 0, onOrigin + "upstream_rq_pending_total": 2,
		inGeneric + "downstream_rq_total": 5, inGeneric + "downstream_rq_active": 0, inGeneric + "downstream_rq_code.200": 5, inGeneric + "downstream_rq_error": 0,
	})
	for _, name := range []string{"downstream_rq_time", "downstream_rq_tx_time"} {
		if n := p.Histogram(inGeneric + name).Count; n != 5 {
			t.Errorf("%s has %d values", name, n)
		}
	}
	c.Close()
}

// GP-10 with a codec whose responses have no ids: they come in the order of the requests, whoever answers
// first; the others wait where they are.
func TestGP10UnboundKeepsTheOrder(t *testing.T) {
	harness.NoLeaks(t)
	for _, codec := range []string{"order", "one"} {
		o := newLineOrigin(t)
		p := startLines(t, codec, false, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n2 get b\n3 get c +\n")
		first, second := o.await(t, "1 get a"), o.await(t, "2 get b")
		third := o.await(t, "3 get c +")
		o.peer(third).Send("3 200 early\n")
		o.peer(second).Send("2 200 +\n2 more\n")
		o.peer(first).Send("1 200 a\n")
		c.WantText("1 200 a\n2 200 +\n2 more\n")
		o.peer(second).Send("2 end\n")
		c.WantText("2 end\n3 200 early\n")
		c.Send("3 end\n4 get d\n")
		o.peer(o.await(t, "4 get d")).Send("4 200 d\n")
		c.WantText("4 200 d\n").Close()
	}
}

// GP-11, GP-12: one connection for all requests of a client, at the host of the first one; neither
// outlives the other.
func TestGP11GP12Bound(t *testing.T) {
	harness.NoLeaks(t)
	o, other := newLineOrigin(t), newLineOrigin(t)
	top := harness.GenericTopology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}, {Name: "other", Origins: []harness.Origin{other}}},
		RouteConfig: "routes:\n  matcher_tree:\n    " + harness.GenericInput("Path", "") + "\n    exact_match_map:\n      map:\n        a: { " +
			harness.GenericAction("cluster: origin") + " }\n        b: { " + harness.GenericAction("cluster: other") + " }",
	}
	p := startLines(t, "ids", true, top)
	c := p.Dial().Send("1 get a\n2 get b\n")
	if o.await(t, "1 get a") != o.await(t, "2 get b") || other.Connections() != 0 {
		t.Error("a later request went elsewhere")
	}
	o.peer(0).Send("2 200 b\n1 200 a\npush news\n")
	c.WantText("2 200 b\n1 200 a\npush news\n")
	c.Close()
	o.await(t, "EOF") // the client's end is the upstream's

	c = p.Dial().Send("1 get a\n2 get a\n")
	at := o.await(t, "1 get a")
	o.await(t, "2 get a")
	o.peer(at).Send("1 200 a\n")
	c.WantText("1 200 a\n")
	_ = o.peer(at).Close()
	if got, err := c.Rest(); got != "2 501 get connection_termination\n" || err != nil { // and the upstream's end the client's
		t.Errorf("%q, %v", got, err)
	}
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 2, "cluster.other.upstream_cx_total": 0, inGeneric + "downstream_rq_flag.UC": 1})
}

// GP-13: without ids the next request goes out when the response before has ended.
func TestGP13OneByOne(t *testing.T) {
	harness.NoLeaks(t)
	o := newLineOrigin(t)
	p := startLines(t, "one", true, harness.GenericTopology{}, o)
	c := p.Dial().Send("1 get a\n2 get b\n3 get c\n")
	for i, key := range []string{"a", "b", "c"} {
		o.await(t, fmt.Sprintf("%d get %s", i+1, key))
		o.peer(0).Send(fmt.Sprintf("%d 200 +\n%d more\n", i+1, i+1))
		c.WantText(fmt.Sprintf("%d 200 +\n%d more\n", i+1, i+1))
		o.nothing(t)
		o.peer(0).Send(fmt.Sprintf("%d end\n", i+1))
		c.WantText(fmt.Sprintf("%d end\n", i+1))
	}
	c.Close()
}

// GP-13: with ids requests go out as they come, and responses find theirs in any order; in order of the
// requests where the order is what tells them apart.
func TestGP13Pipelined(t *testing.T) {
	harness.NoLeaks(t)
	for codec, answers := range map[string]string{"ids": "3 200 c\n1 200 +\n2 200 b\n1 more\n1 end\n", "order": "9 200 a\n9 200 b\n9 200 c\n"} {
		o := newLineOrigin(t)
		p := startLines(t, codec, true, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n2 get b\n3 get c\n")
		for i, key := range []string{"a", "b", "c"} {
			o.await(t, fmt.Sprintf("%d get %s", i+1, key))
		}
		o.peer(0).Send(answers)
		c.WantText(answers).Close()
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_code.200": 3, onOrigin + "upstream_cx_total": 1})
	}
}

// GP-14, GP-21: an id that is under way ends the connection, in both settings.
func TestGP14DuplicateID(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n")
		o.await(t, "1 get a")
		c.Send("1 get b\n")
		if got, err := c.Rest(); got != "" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		o.await(t, "EOF")
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_decoding_error": 1, inGeneric + "downstream_rq_reset": 1, inGeneric + "downstream_rq_flag.DPE": 1})
	}
}

// GP-14: a response nobody waits for is dropped.
func TestGP14UnknownID(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n")
		o.peer(o.await(t, "1 get a")).Send("7 200 +\n7 more\n7 end\n1 200 a\n")
		c.WantText("1 200 a\n").Close()
		p.WantStats(harness.Stats{inGeneric + "upstream_response_unmatched": map[bool]int64{true: 1, false: 3}[bind]})
	}
}

// GP-15: bytes that cannot be read on a bound connection fail every request that waits.
func TestGP15BoundDecodingError(t *testing.T) {
	harness.NoLeaks(t)
	o := newLineOrigin(t)
	p := startLines(t, "ids", true, harness.GenericTopology{}, o)
	c := p.Dial().Send("1 get a\n2 get b\n")
	o.await(t, "1 get a")
	o.await(t, "2 get b")
	o.peer(0).Send("?\n")
	if got, err := c.Rest(); got != "1 501 get protocol_error\n2 501 get protocol_error\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.WantStats(harness.Stats{inGeneric + "downstream_rq_flag.UPE": 2, inGeneric + "downstream_rq_local": 2, onOrigin + "upstream_cx_protocol_error": 1})
}

// GP-20 and GP-21: requests may come in any pieces; one that cannot be read ends the connection and resets
// what is under way.
func TestGP21DecodingFailure(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial()
		for _, b := range "1 get a\n2 get b\n" { // GP-20
			c.Send(string(b))
		}
		o.await(t, "1 get a")
		o.await(t, "2 get b")
		c.Send("3 get c\n?\n4 get d\n")
		if got, err := c.Rest(); got != "" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_decoding_error": 1, inGeneric + "downstream_rq_reset": 3, inGeneric + "downstream_rq_total": 3})
	}
	p := startLines(t, "ids", false, harness.GenericTopology{})
	c := p.Dial().Send(strings.Repeat("x", 64<<10)) // a frame larger than the codec takes
	if got, err := c.Rest(); got != "" || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q, %v", got, err)
	}
	p.WantStats(harness.Stats{inGeneric + "downstream_rq_decoding_error": 1})
}

// GP-22: a one-way request is over when it is sent, and its connection serves the next one.
func TestGP22OneWay(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial()
		for range 3 {
			c.Send("1 oneway a\n")
			o.await(t, "1 oneway a")
			harness.Eventually(t, "its end", func() bool { return p.Stat(inGeneric+"downstream_rq_active") == 0 })
		}
		c.Send("1 get b\n")
		o.peer(o.await(t, "1 get b")).Send("1 200 b\n")
		c.WantText("1 200 b\n").Close()
		if n := o.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_reset": 0, inGeneric + "downstream_rq_code.0": 3, inGeneric + "downstream_rq_total": 4})
	}
}

// GP-23: the codec answers by itself, in both directions, and not into the middle of a message.
func TestGP23CodecAnswers(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial().Send("beat\n").WantText("beat\n").Send("1 get a\n")
		at := o.await(t, "1 get a")
		o.peer(at).Send("beat\n")
		o.await(t, "beat")
		o.peer(at).Send("1 200 +\n")
		c.WantText("1 200 +\n").Send("beat\n2 get b\n")
		o.peer(o.await(t, "2 get b")).Send("\n") // nothing
		o.peer(at).Send("1 end\n")
		c.WantText("1 end\nbeat\n").Close()
		harness.Eventually(t, "the end", func() bool { return p.Stat(inGeneric+"downstream_rq_active") == 0 })
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_total": 2})
	}
}

// GP-24: the response to a request that was given up is dropped, and the next one finds its own.
func TestGP24LateResponse(t *testing.T) {
	harness.NoLeaks(t)
	for codec, counter := range map[string]string{"ids": "upstream_response_unmatched", "order": "upstream_response_late", "one": "upstream_response_late"} {
		o := newLineOrigin(t)
		p := startLines(t, codec, true, harness.GenericTopology{Action: "timeout: 1s"}, o)
		c := p.Dial().Send("1 get a\n")
		o.await(t, "1 get a")
		c.WantText("1 502 get timeout\n")
		c.Send("2 get b\n")
		if codec != "one" {
			o.await(t, "2 get b") // one by one it waits for the late response
		}
		o.peer(0).Send("1 200 late\n")
		if codec == "one" {
			o.await(t, "2 get b")
		}
		o.peer(0).Send("2 200 b\n")
		c.WantText("2 200 b\n").Close()
		p.WantStats(harness.Stats{inGeneric + counter: 1, inGeneric + "downstream_rq_local": 1, inGeneric + "downstream_rq_flag.UT": 1, onOrigin + "upstream_rq_timeout": 1})
	}
}

// GP-24: a second header for one request is a protocol error.
func TestGP24SecondHeader(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n")
		o.peer(o.await(t, "1 get a")).Send("1 200 +\n1 200 again\n")
		if got, err := c.Rest(); got != "1 200 +\n" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_flag.UPE": 1, inGeneric + "downstream_rq_reset": 1, inGeneric + "downstream_rq_local": 0})
	}
}

// GP-24: when a response breaks off its client is told by the end of the connection; others are reset.
func TestGP24ResponseBrokenOff(t *testing.T) {
	harness.NoLeaks(t)
	o := newLineOrigin(t)
	p := startLines(t, "ids", false, harness.GenericTopology{}, o)
	c := p.Dial().Send("1 get a\n2 get b\n")
	at := o.await(t, "1 get a")
	o.await(t, "2 get b")
	o.peer(at).Send("1 200 +\n")
	c.WantText("1 200 +\n")
	_ = o.peer(at).Close()
	if got, err := c.Rest(); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := strings.Join(p.AwaitLines(2), "|"); !strings.Contains(got, "get a 200 UC connection_termination") || !strings.Contains(got, "get b 0 - local_reset") {
		t.Errorf("%q", got)
	}
}

// GP-25: without a local reply the request is reset; where responses are told by their order the
// connection ends with it.
func TestGP25NoReply(t *testing.T) {
	harness.NoLeaks(t)
	p := startLines(t, "silent", false, harness.GenericTopology{})
	p.Dial().Send("1 get a\nbeat\n").WantText("beat\n").Close()
	p.WantStats(harness.Stats{inGeneric + "downstream_rq_reset": 1, inGeneric + "downstream_rq_local": 0, inGeneric + "downstream_rq_flag.UH": 1})
	p = startLines(t, "silentorder", false, harness.GenericTopology{})
	if got, err := p.Dial().Send("1 get a\n").Rest(); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.WantStats(harness.Stats{inGeneric + "downstream_rq_reset": 1})
}

// GP-26: a FIN of the client ends the connection, whatever is under way.
func TestGP26HalfClose(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n")
		o.await(t, "1 get a")
		c.Finish()
		if got, err := c.Rest(); got != "" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		o.await(t, "EOF")
		p.WantLines("get a 0 DC downstream_remote_disconnect")
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_reset": 1, inGeneric + "downstream_rq_flag.DC": 1})
	}
}

// GP-3: the timeout begins when the request was received whole.
func TestGP03Timeout(t *testing.T) {
	harness.NoLeaks(t)
	o := newLineOrigin(t)
	p := startLines(t, "ids", false, harness.GenericTopology{Action: "timeout: 0.2s"}, o)
	c := p.Dial().Send("1 get a +\n")
	at := o.await(t, "1 get a +")
	c.Send("2 get b\n") // cannot begin within another
	if got, err := c.Rest(); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_ = at
	c = p.Dial().Send("1 get a\n2 get b\n")
	o.await(t, "EOF")
	c.WantText("1 502 get timeout\n2 502 get timeout\n").Close()
	p.WantStats(harness.Stats{inGeneric + "downstream_rq_flag.UT": 2, inGeneric + "downstream_rq_code.502": 2, onOrigin + "upstream_rq_timeout": 2, onOrigin + "upstream_rq_tx_reset": 3})
}

// GP-4: a reset before the response is tried again, as often as num_retries says, the first try included.
func TestGP04Retries(t *testing.T) {
	harness.NoLeaks(t)
	failing := func(p *harness.Peer) {
		line, _ := p.In.ReadString('\n')
		if p.Number < 2 {
			return
		}
		p.Send(strings.Replace(line, "get", "200", 1))
		answering(p)
	}
	for _, tc := range []struct {
		tries, answer, line string
		bind                bool
	}{
		{"3", "1 200 a\n", "get a 200 - via_upstream", false},
		{"2", "1 501 get connection_termination\n", "get a 501 UC,URX connection_termination", false},
		{"1", "1 501 get connection_termination\n", "get a 501 UC connection_termination", false},
		{"3", "1 501 get connection_termination\n", "get a 501 UC connection_termination", true},
	} {
		p := startLines(t, "ids", tc.bind, harness.GenericTopology{Action: "retry_policy: { num_retries: " + tc.tries + " }"}, harness.NewRaw(t, failing))
		p.Dial().Send("1 get a\n").WantText(tc.answer).Close()
		p.WantLines(tc.line)
	}
	p := startLines(t, "ids", false, harness.GenericTopology{Action: "retry_policy: { num_retries: 5 }"}, harness.Refusing(t))
	p.Dial().Send("1 get a\n").WantText("1 501 get connection_failure\n").Close()
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_connect_fail": 5})
}

// CL-46: hosts that cannot be reached, break off, do not answer or answer what cannot be read are ejected, one that answers with errors is not.
func TestCL46GenericRequestsEject(t *testing.T) {
	const detection = "outlier_detection: { interval: 0.05s, base_ejection_time: 60s, max_ejection_time: 60s, max_ejection_percent: 50 }" + noMerge
	broken := func(answer string) func(t testing.TB) harness.Origin {
		return func(t testing.TB) harness.Origin {
			return harness.NewRaw(t, func(p *harness.Peer) {
				_, _ = p.In.ReadString('\n')
				p.Send(answer)
			})
		}
	}
	for _, tc := range []struct {
		title  string
		bad    func(t testing.TB) harness.Origin
		action string
	}{
		{"refuses", func(t testing.TB) harness.Origin { return harness.Refusing(t) }, ""},
		{"breaks off", broken(""), ""},
		{"cannot be read", broken("?\n"), ""},
		{"says nothing", func(t testing.TB) harness.Origin { return newLineOrigin(t) }, "timeout: 0.02s"},
	} {
		for _, bind := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bound %v", tc.title, bind), func(t *testing.T) {
				harness.NoLeaks(t)
				clusters := to(tc.bad(t), harness.NewRaw(t, answering))
				clusters[0].Fields = detection
				p := startLines(t, "ids", bind, harness.GenericTopology{Clusters: clusters, Action: tc.action})
				harness.Eventually(t, "the host is ejected", func() bool {
					c := p.Dial().Send("1 get a\n")
					if _, err := bufio.NewReader(c.Conn).ReadString('\n'); err != nil {
						t.Error(err)
					}
					c.Close()
					return p.Stat(onOrigin+"outlier_detection.ejections_active") == 1
				})
				for range 10 {
					p.Dial().Send("1 599 a\n").WantText("1 599 599 a\n").Close()
				}
				p.WantStats(harness.Stats{onOrigin + "outlier_detection.ejections_enforced_consecutive_5xx": 1, onOrigin + "outlier_detection.ejections_overflow": 0})
			})
		}
	}
}

// The table of local replies.
func TestGPLocalReplies(t *testing.T) {
	harness.NoLeaks(t)
	hangup := func(t *testing.T) harness.Origin {
		return harness.NewRaw(t, func(p *harness.Peer) { _, _ = p.In.ReadString('\n') })
	}
	babble := func(t *testing.T) harness.Origin {
		return harness.NewRaw(t, func(p *harness.Peer) {
			_, _ = p.In.ReadString('\n')
			p.Send("?\n")
			p.Drain()
		})
	}
	refusing := func(t *testing.T) harness.Origin { return harness.Refusing(t) }
	for _, tc := range []struct {
		name, routes, bootstrap, cluster string
		origin                           func(*testing.T) harness.Origin
		answer, flags                    string
	}{
		{"no route", "routes: { matcher_tree: { " + harness.GenericInput("Path", "") + ", exact_match_map: { map: { x: { " + harness.GenericAction("cluster: origin") + " } } } } }", "", "", nil, "1 500 get route_not_found\n", "NR"},
		{"no cluster", "routes: { on_no_match: { " + harness.GenericAction("cluster: nowhere") + " } }", "", "", nil, "1 500 get cluster_not_found\n", "NC"},
		{"maintenance", "", "layered_runtime: { layers: [{ name: s, static_layer: { upstream.maintenance_mode.origin: 100 } }] }", "", nil, "1 501 get cluster_maintain_mode\n", ""},
		{"no host", "", "", "", nil, "1 501 get no_healthy_upstream\n", "UH"},
		{"refused", "", "", "", refusing, "1 501 get connection_failure\n", "UF"},
		{"closed", "", "", "", hangup, "1 501 get connection_termination\n", "UC"},
		{"breaker", "", "", "circuit_breakers: { thresholds: [{ max_requests: 0 }] }", hangup, "1 501 get overflow\n", "UO"},
		{"bad bytes", "", "", "", babble, "1 501 get protocol_error\n", "UPE"},
	} {
		for _, bind := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bound %t", tc.name, bind), func(t *testing.T) {
				cl := harness.Cluster{Name: "origin", Fields: tc.cluster}
				if tc.origin != nil {
					cl.Origins = []harness.Origin{tc.origin(t)}
				}
				p := startLines(t, "ids", bind, harness.GenericTopology{Clusters: []harness.Cluster{cl}, RouteConfig: tc.routes, Bootstrap: tc.bootstrap, NotSettled: tc.name == "breaker"})
				c := p.Dial().Send("1 get a\n").WantText(tc.answer)
				c.Close()
				flags := tc.flags
				if flags == "" {
					flags = "-"
				}
				words := strings.Fields(tc.answer)
				p.WantLines(fmt.Sprintf("get a %s %s %s", words[1], flags, words[3]))
				want := harness.Stats{inGeneric + "downstream_rq_local": 1, inGeneric + "downstream_rq_error": 1, inGeneric + "downstream_rq_code." + words[1]: 1, inGeneric + "downstream_rq_reset": 0}
				if tc.flags != "" {
					want[inGeneric+"downstream_rq_flag."+tc.flags] = 1
				}
				p.WantStats(want)
			})
		}
	}
}

// GP-30: the operators of generic proxies.
func TestGP30AccessLog(t *testing.T) {
	harness.NoLeaks(t)
	p := startLines(t, "ids", false, harness.GenericTopology{
		LogFormat: "%PROTOCOL% %METHOD% %PATH% %HOST% %REQUEST_PROPERTY(k)% %REQUEST_PROPERTY(none)% %RESPONSE_PROPERTY(r):2% %RESPONSE_CODE% %UPSTREAM_CLUSTER% %ROUTE_NAME% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ACCESS_LOG_TYPE%",
	}, harness.NewRaw(t, answering))
	p.Dial().Send("1 get a host=h k=v r=long\n").WantText("1 200 get a host=h k=v r=long\n").Close()
	p.WantLines("line get a h v - lo 200 origin all 26 30 1 DownstreamEnd")
}

// GP-35: a drain closes connections without requests at once, the others after their last one; a
// response may ask for the same.
func TestGP35Drain(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		idle, busy := p.Dial(), p.Dial().Send("1 get a\n")
		at := o.await(t, "1 get a")
		idle.Send("beat\n").WantText("beat\n")
		p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
		if got, err := idle.Rest(); got != "" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		busy.Send("2 get b\n") // still served
		second := o.await(t, "2 get b")
		o.peer(at).Send("1 200 a\n")
		busy.WantText("1 200 a\n")
		o.peer(second).Send("2 200 b\n")
		if got, err := busy.Rest(); got != "2 200 b\n" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, bind := range []bool{true, false} {
		o := newLineOrigin(t)
		p := startLines(t, "ids", bind, harness.GenericTopology{}, o)
		c := p.Dial().Send("1 get a\n2 get b\n")
		first := o.await(t, "1 get a")
		second := o.await(t, "2 get b")
		o.peer(first).Send("1 200 close\n")
		c.WantText("1 200 close\n")
		o.peer(second).Send("2 200 b\n")
		if got, err := c.Rest(); got != "2 200 b\n" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// GP-16: the router is called by its contrib name; its type is what counts.
func TestGP16RouterName(t *testing.T) {
	top := harness.GenericTopology{Codec: "redis"}
	if yaml := top.YAML("/dev/null"); !strings.Contains(yaml, "name: envoy.filters.generic.router\n") {
		t.Error(yaml)
	}
	harness.StartGeneric(t, top)
}

// GP-1: the order in which hosts are looked up.
func TestGP01VirtualHosts(t *testing.T) {
	harness.NoLeaks(t)
	vh := func(name string, hosts ...string) string {
		return fmt.Sprintf("- { name: %s, hosts: [\"%s\"], routes: { on_no_match: { %s } } }\n", name, strings.Join(hosts, "\", \""), harness.GenericAction("name: "+name+", cluster: origin"))
	}
	p := startLines(t, "ids", false, harness.GenericTopology{
		LogFormat:   "%HOST% %ROUTE_NAME%",
		RouteConfig: "virtual_hosts:\n" + vh("exact", "www.foo.com") + vh("suffix", "*.foo.com") + vh("longer", "*-bar.foo.com") + vh("prefix", "www.*", "www.foo*") + "routes: { on_no_match: { " + harness.GenericAction("name: default, cluster: origin") + " } }",
	}, harness.NewRaw(t, answering))
	c := p.Dial()
	var want []string
	for i, row := range []string{"www.foo.com exact", "a.foo.com suffix", "a-bar.foo.com longer", "-bar.foo.com suffix", "www.bar.com prefix", "www.foo prefix", ".foo.com default", "other default"} {
		host, _, _ := strings.Cut(row, " ")
		request := fmt.Sprintf("%d get a host=%s\n", i, host)
		c.Send(request).WantText(strings.Replace(request, "get", "200 get", 1))
		want = append(want, row)
	}
	c.Close()
	p.WantLines(want...)
}

// GP-2: lists, trees and predicates over host, path, method and properties.
func TestGP02Matchers(t *testing.T) {
	harness.NoLeaks(t)
	value := func(input, field, match string) string {
		return "single_predicate: { " + harness.GenericInput(input, field) + ", value_match: { " + match + " } }"
	}
	action := func(name string) string { return harness.GenericAction("name: " + name + ", cluster: origin") }
	custom := "single_predicate: { " + harness.GenericInput("Request", "") + ", custom_match: { name: m, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.network.generic_proxy.matcher.v3.RequestMatcher, " +
		"host: { exact: h }, path: { prefix: cu }, method: { safe_regex: { regex: \"p[ou]t\" } }, properties: [{ name: k, string_match: { suffix: z } }] } } }"
	p := startLines(t, "ids", false, harness.GenericTopology{
		LogFormat: "%METHOD% %PATH% %ROUTE_NAME%",
		RouteConfig: "routes:\n  matcher_list:\n    matchers:\n" +
			"    - { predicate: { " + value("Method", "", "exact: PING, ignore_case: true") + " }, on_match: { " + action("ping") + " } }\n" +
			"    - { predicate: { and_matcher: { predicate: [{ " + value("Path", "", "prefix: an") + " }, { not_matcher: { " + value("Property", "property_name: k", "exact: v") + " } }] } }, on_match: { " + action("and_not") + " } }\n" +
			"    - { predicate: { or_matcher: { predicate: [{ " + value("Property", "property_name: k", "contains: or") + " }, { " + value("Service", "", "exact: or") + " }] } }, on_match: { " + action("or") + " } }\n" +
			"    - { predicate: { " + custom + " }, on_match: { " + action("custom") + " } }\n" +
			"    - predicate: { " + value("Path", "", "prefix: tree") + " }\n      on_match:\n        matcher:\n          matcher_tree:\n            " + harness.GenericInput("Path", "") + "\n            prefix_match_map:\n              map:\n                tree/: { " + action("tree") + " }\n                tree/deep/: { matcher: { matcher_tree: { " + harness.GenericInput("Method", "") + ", exact_match_map: { map: { put: { " + action("deep") + " } } } } } }\n" +
			"  on_no_match: { " + action("none") + " }",
	}, harness.NewRaw(t, answering))
	c := p.Dial()
	var want []string
	for i, tc := range []struct{ method, path, rest, route string }{
		{"ping", "x", "", "ping"}, {"get", "and", "", "and_not"}, {"get", "and", "k=v", "none"}, {"get", "x", "k=for", "or"}, {"get", "x", "host=or", "or"},
		{"put", "cu", "host=h k=yz", "custom"}, {"put", "cu", "host=h k=y", "none"}, {"get", "cu", "host=h k=yz", "none"},
		{"get", "tree/a", "", "tree"}, {"put", "tree/deep/a", "", "deep"}, {"get", "tree/deep/a", "", "tree"}, {"get", "tree", "", "none"},
	} {
		request := strings.TrimSpace(fmt.Sprintf("%d %s %s %s", i, tc.method, tc.path, tc.rest))
		c.Send(request + "\n").WantText(strings.Replace(request, " ", " 200 ", 1) + "\n")
		want = append(want, tc.method+" "+tc.path+" "+tc.route)
	}
	c.Close()
	p.WantLines(want...)
}

// GP-3: clusters by weight.
func TestGP03WeightedClusters(t *testing.T) {
	harness.NoLeaks(t)
	p := startLines(t, "ids", false, harness.GenericTopology{
		LogFormat:   "%UPSTREAM_CLUSTER%",
		Clusters:    []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.NewRaw(t, answering)}}, {Name: "other", Origins: []harness.Origin{harness.NewRaw(t, answering)}}},
		RouteConfig: "routes: { on_no_match: { " + harness.GenericAction("weighted_clusters: { clusters: [{ name: origin, weight: 1 }, { name: other, weight: 3 }] }") + " } }",
	})
	c := p.Dial()
	for range 400 {
		c.Send("1 get a\n").WantText("1 200 get a\n")
	}
	c.Close()
	n := map[string]int{}
	for _, line := range p.AwaitLines(400) {
		n[line]++
	}
	if n["origin"] < 50 || n["origin"] > 150 || n["origin"]+n["other"] != 400 {
		t.Errorf("%v", n)
	}
}

// upper is a filter: it refuses what has the property deny, adds a property, and counts responses.
type upper struct{ t *testing.T }

func (u upper) OnRequest(r *generic.Request) generic.Verdict {
	if _, ok := r.Property("deny"); ok {
		return generic.Verdict{Reply: true, Status: frame.InvalidArgument, Details: "denied_by_filter"}
	}
	n := 0
	r.VisitProperties(func(_, _ []byte) bool { n++; return true })
	if !r.SetProperty("seen", fmt.Appendf(nil, "%d", n)) || !r.EraseProperty("secret") {
		u.t.Error("a property cannot be changed")
	}
	if len(r.Config) > 0 {
		r.SetProperty("config", r.Config)
	}
	return generic.Verdict{}
}

func (u upper) OnResponse(r *generic.Request) {
	r.SetProperty("proto", []byte(r.Protocol()))
}

// Filters of the embedder see, answer and change messages; a route may configure them.
func TestGenericFilters(t *testing.T) {
	harness.NoLeaks(t)
	p := startLines(t, "ids", false, harness.GenericTopology{
		Filters: []string{"upper"}, Factories: map[string]generic.FilterFactory{"upper": func(string, json.RawMessage) (generic.Filter, error) { return upper{t}, nil }},
		Action: "per_filter_config: { upper: { \"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: x/y, value: { a: 1 } } }",
	}, harness.NewRaw(t, answering))
	c := p.Dial().Send("1 get a k=v secret=x\n").WantText("1 200 get a k=v seen=2 config={\"a\":1} proto=line\n")
	c.Send("2 get a deny=1\n").WantText("2 503 get denied_by_filter\n").Close()
	p.WantLines("get a 200 - via_upstream", "get a 503 - denied_by_filter")
}

// A client that does not read stops its upstreams, and what it sends; nothing grows.
func TestGenericSlowReader(t *testing.T) {
	harness.NoLeaks(t)
	flood := func(p *harness.Peer) {
		line, err := p.In.ReadString('\n')
		if err != nil {
			return
		}
		id, _, _ := strings.Cut(line, " ")
		p.Send(id + " 200 +\n")
		more := []byte(strings.Repeat(id+" more xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 1000))
		for range 1000 {
			if _, err := p.Write(more); err != nil {
				return
			}
		}
		p.Send(id + " end\n")
		p.Drain()
	}
	for _, bind := range []bool{true, false} {
		p := startLines(t, "ids", bind, harness.GenericTopology{Listener: "per_connection_buffer_limit_bytes: 65536"}, harness.NewRaw(t, flood))
		c := harness.Dialing{ReceiveBuffer: 4096}.Dial(t, p.Addr).Send("1 get a\n")
		harness.Eventually(t, "a pause", func() bool { return p.Stat(onOrigin+"upstream_flow_control_paused_reading_total") > 0 })
		if n := p.Buffered(); n > 1<<20 {
			t.Errorf("%d bytes are kept", n)
		}
		got, want := 0, 1000*1000
		for {
			line := c.Line()
			if line == "1 end" {
				break
			}
			if strings.Contains(line, "more") {
				got++
			}
		}
		if got != want {
			t.Errorf("%d lines of %d", got, want)
		}
		c.Close()
	}
}

// Requests that an upstream does not take stay with their client.
func TestGenericSlowUpstream(t *testing.T) {
	harness.NoLeaks(t)
	for _, codec := range []string{"ids", "order"} {
		gate := make(chan struct{})
		o := harness.NewRaw(t, func(p *harness.Peer) {
			select {
			case <-gate:
			case <-p.Stopped():
			}
			answering(p)
		})
		p := startLines(t, codec, true, harness.GenericTopology{Listener: "per_connection_buffer_limit_bytes: 65536", Action: "timeout: 0s"}, o)
		c := p.Dial()
		done := make(chan struct{})
		go func() {
			defer close(done)
			pad := strings.Repeat("x", 3000)
			for i := range 5000 {
				if _, err := fmt.Fprintf(c.Conn, "%d get a p=%s\n", i, pad); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		harness.Eventually(t, "a full queue", func() bool { return p.Stat(inGeneric+"downstream_rq_queue_full") > 0 })
		if n := p.Buffered(); n > 2<<20 {
			t.Errorf("%d bytes are kept", n)
		}
		close(gate)
		for i := range 5000 {
			if line := c.Line(); !strings.HasPrefix(line, fmt.Sprintf("%d 200 get a", i)) {
				t.Fatalf("%.40q is no answer to %d", line, i)
			}
		}
		<-done
		c.Close()
	}
}

// A changed route is the next request's; a changed codec lets connections end.
func TestGenericReload(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, answering)
	top := harness.GenericTopology{LogFormat: "%METHOD% %ROUTE_NAME%", Codec: "ids", Codecs: lineCodecs, Clusters: to(o)}
	p := harness.StartGeneric(t, top)
	c := p.Dial().Send("1 get a\n").WantText("1 200 get a\n")
	top.RouteConfig = "routes: { on_no_match: { " + harness.GenericAction("name: changed, cluster: origin") + " } }"
	p.ApplyGeneric(top)
	c.Send("2 get b\n").WantText("2 200 get b\n")
	top.Codec = "order"
	p.ApplyGeneric(top)
	if got, err := c.Send("3 get c\n").Rest(); got != "3 200 get c\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	p.WantLines("get all", "get changed", "get changed")
}
