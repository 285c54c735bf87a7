package health

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// CL-40, CL-41: what results make of a host. g good, b bad, r retriable, n no answer, t timeout, x bad and
// excluded, d good and degraded; the state after each: H or U, with D degraded, T timed out, X excluded.
func TestCL40Thresholds(t *testing.T) {
	results := map[rune]Result{
		'g': {Outcome: Good}, 'b': {Outcome: Bad}, 'r': {Outcome: Retriable}, 'n': {Outcome: Unreachable}, 't': {Outcome: Late},
		'x': {Outcome: Bad, Excluded: true}, 'd': {Outcome: Good, Degraded: true},
	}
	c := &conf.HealthCheck{HealthyThreshold: 2, UnhealthyThreshold: 3}
	for _, row := range []struct{ name, results, want string }{
		{"the first success counts alone", "g", "H"},
		{"the first failure counts alone, and then success needs its threshold", "ngg", "U U H"},
		{"an unexpected status is enough", "gb", "H U"},
		{"no answer counts to the threshold", "gnnn", "H H H U"},
		{"a retriable status does", "grrr", "H H H U"},
		{"a success in between begins anew", "gnngnnn", "H H H H H H U"},
		{"a failure in between begins anew", "nngngg", "U U U U U H"},
		{"a timeout shows", "gttt", "H HT HT UT"},
		{"and goes with another failure", "gtn", "H HT H"},
		{"degraded", "dg", "HD H"},
		{"degraded stays through failures that do not count yet", "dn", "HD HD"},
		{"excluded at once, until it answers otherwise", "gxnbgg", "H UX UX U U H"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var s State
			got := ""
			for i, r := range row.results {
				s.Apply(c, results[r])
				if i > 0 {
					got += " "
				}
				for _, f := range []struct {
					on   bool
					text string
				}{{s.Healthy, "H"}, {!s.Healthy, "U"}, {s.Degraded, "D"}, {s.TimedOut, "T"}, {s.Excluded, "X"}} {
					if f.on {
						got += f.text
					}
				}
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestCL41ImmediateFailure(t *testing.T) {
	var s State
	s.Apply(&conf.HealthCheck{HealthyThreshold: 2, UnhealthyThreshold: 3}, Result{})
	if !s.FailAtOnce() || s.Healthy || !s.Excluded {
		t.Errorf("%+v", s)
	}
	if s.FailAtOnce() {
		t.Error("a second one changes something")
	}
}

// HealthCheckRequest and -Response as the protobuf library writes them.
func TestGRPCMessages(t *testing.T) {
	if got := fmt.Sprintf("%x", checkRequest("")); got != "0000000000" {
		t.Errorf("empty request %s", got)
	}
	if got := fmt.Sprintf("%x", checkRequest("svc")); got != "00000000050a03737663" {
		t.Errorf("request %s", got)
	}
	for text, want := range map[string]string{
		"\x00\x00\x00\x00\x02\x08\x01":          "true <nil>",
		"\x00\x00\x00\x00\x02\x08\x02":          "false <nil>",
		"\x00\x00\x00\x00\x00":                  "false <nil>",
		"\x00\x00\x00\x00\x05\x12\x01a\x08\x01": "true <nil>",
		"\x00\x00\x00\x00\x02\x08":              "false no gRPC message of one health status",
		"\x01\x00\x00\x00\x02\x08\x01":          "false no gRPC message of one health status",
		"\x00\x00\x00\x00\x02\x08\xff":          "false no HealthCheckResponse",
		"\x00\x00\x00\x00\x02\x12\x09":          "false no HealthCheckResponse",
		"":                                      "false no gRPC message of one health status",
	} {
		ok, err := serving([]byte(text))
		if got := fmt.Sprint(ok, " ", err); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzServing(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x05\x12\x01a\x08\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ok, err := serving(b); ok && err != nil {
			t.Error("serving and an error")
		}
	})
}

func TestInOrder(t *testing.T) {
	wanted := [][]byte{[]byte("a"), []byte("bc"), []byte("a")}
	for text, want := range map[string]bool{"abca": true, "xaxbcxax": true, "abc": false, "bcaa": false, "": false} {
		if inOrder([]byte(text), wanted) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
