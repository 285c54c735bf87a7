//go:build !race

package accesslog

import (
	"os"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// A line costs no allocation, the hand-over of a full buffer now and then included.
func TestLoggingDoesNotAllocate(t *testing.T) {
	m, r := newManager(t)
	s := m.NewShard()
	i := &streaminfo.Info{
		Request: request("user-agent: curl", "x-request-id: 01234567-89ab"), Response: request(), ResponseCode: 200,
		StartUnixNs: 1e18, Start: 1, End: 2e6, Protocol: header.HTTP11, Conn: &streaminfo.Connection{},
	}
	text, err := m.Compile(&conf.AccessLog{Path: os.DevNull, Filter: &conf.LogFilter{Kind: conf.FilterAnd, Filters: []*conf.LogFilter{
		status(conf.CompareEQ, 200),
		headerFilter(conf.HeaderMatcher{Name: "user-agent", Kind: conf.MatchPrefix, Value: "CURL", IgnoreCase: true}),
		headerFilter(conf.HeaderMatcher{Name: "user-agent", Kind: conf.MatchRegex, Value: "[a-z]+"}),
		{Kind: conf.FilterRuntime, Percent: conf.Fraction{Numerator: 100, Denominator: 100}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	typed, err := m.Compile(&conf.AccessLog{Path: os.DevNull, Format: &conf.Format{JSON: &conf.JSONObject{
		Keys: []string{"a", "b"}, Values: []any{"%RESPONSE_CODE%", "%REQ(USER-AGENT)% %START_TIME%"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	work := func() {
		for range 100 {
			text.Log(s, i)
			typed.Log(s, i)
		}
	}
	for range 100 {
		work() // buffers come into being
	}
	if n := testing.AllocsPerRun(200, work); n >= 1 {
		t.Fatalf("%v allocations for 200 lines", n)
	}
	if n := counter(r, "lines_dropped"); n != 0 {
		t.Logf("%d lines dropped", n)
	}
}
