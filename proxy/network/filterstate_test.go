package network

import (
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// set compiles a filter that sets key to a text.
func set(t testing.TB, r *stats.Registry, values ...conf.FilterStateValue) Filter {
	return compile(t, &conf.NetworkFilter{SetFilterState: &conf.SetFilterState{OnNewConnection: values}}, deps(r))
}

func text(s string) *conf.Format { return &conf.Format{Text: s} }

func TestSetFilterStateValues(t *testing.T) {
	for _, row := range []struct {
		title   string
		v       conf.FilterStateValue
		want    string // of the value's key
		refused int64
	}{
		{"a fixed cluster", conf.FilterStateValue{Key: streaminfo.KeyTCPCluster, Format: text("blue")}, "blue", 0},
		{"facts of the connection", conf.FilterStateValue{Key: streaminfo.KeyTCPCluster, Format: text("%REQUESTED_SERVER_NAME%-%DOWNSTREAM_LOCAL_PORT%")}, "blue.example-443", 0},
		{"filter state set before", conf.FilterStateValue{Key: streaminfo.KeyUpstreamServerName, Format: text("%FILTER_STATE(before:PLAIN)%")}, "earlier", 0},
		{"dynamic metadata", conf.FilterStateValue{Key: "k", Factory: "envoy.string", Format: text("%DYNAMIC_METADATA(ns:tenant)%")}, "acme", 0},
		{"a JSON format", conf.FilterStateValue{Key: "k", Factory: "envoy.string", Format: &conf.Format{JSON: &conf.JSONObject{Keys: []string{"id"}, Values: []any{"%CONNECTION_ID%"}}}}, `{"id":1}`, 0},
		{"the day it was accepted", conf.FilterStateValue{Key: "k", Factory: "envoy.string", Format: text("%START_TIME(%F)%")}, time.Now().UTC().Format(time.DateOnly), 0},
		{"what is not there prints as a dash", conf.FilterStateValue{Key: "k", Factory: "envoy.string", Format: text("%REQ(:PATH)%")}, "-", 0},
		{"omit_empty_values prints it as nothing", conf.FilterStateValue{Key: "k", Factory: "envoy.string", Format: &conf.Format{Text: "%REQ(:PATH)%", OmitEmptyValues: true}}, "", 0},
		{"skip_if_empty leaves it out", conf.FilterStateValue{Key: "k", Factory: "envoy.string", SkipIfEmpty: true, Format: &conf.Format{Text: "%REQ(:PATH)%", OmitEmptyValues: true}}, "(unset)", 0},
		{"skip_if_empty with a value", conf.FilterStateValue{Key: "k", Factory: "envoy.string", SkipIfEmpty: true, Format: text("%REQ(:PATH)%")}, "-", 0},

		{"true is a boolean", conf.FilterStateValue{Key: streaminfo.KeyTCPReceiveBeforeConnect, Format: text("true")}, "true", 0},
		{"a boolean that turns out to be none", conf.FilterStateValue{Key: streaminfo.KeyTCPDisableTunneling, Format: text("%CONNECTION_ID%")}, "(unset)", 1},
		{"an idle timeout", conf.FilterStateValue{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: text("18446744073709551615")}, "18446744073709551615", 0},
		{"an idle timeout from a fact", conf.FilterStateValue{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: text("%CONNECTION_ID%000")}, "1000", 0},
		{"an idle timeout that is no number", conf.FilterStateValue{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: text("%REQUESTED_SERVER_NAME%")}, "(unset)", 1},
		{"an idle timeout of more than 64 bits", conf.FilterStateValue{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: text("1844674407370955161%DOWNSTREAM_REMOTE_PORT%")}, "(unset)", 1},
		{"a negative idle timeout", conf.FilterStateValue{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: text("-%CONNECTION_ID%")}, "(unset)", 1},
		{"another key, made as one of the well-known ones", conf.FilterStateValue{Key: "k", Factory: streaminfo.KeyTCPIdleTimeoutMs, Format: text("%REQUESTED_SERVER_NAME%")}, "(unset)", 1},
		{"a key that is read-only", conf.FilterStateValue{Key: "fixed", Factory: "envoy.string", Format: text("new")}, "old", 1},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := stats.NewRegistry()
			c, f, facts := newLoop(r), set(t, r, row.v), connection()
			facts.StartNs = c.Worker.Loop.Now()
			facts.Extra.State.Set("before", []byte("earlier"), false)
			facts.Extra.State.Set("fixed", []byte("old"), true)
			facts.Extra.Metadata.Set("ns", "tenant", []byte("acme"))
			if v := c.try(f, facts); v != (Verdict{}) {
				t.Errorf("%+v", v)
			}
			if got := state(facts, row.v.Key); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
			wantValues(t, r, map[string]int64{"set_filter_state.refused": row.refused})
		})
	}
}

func TestSetFilterStateInOrder(t *testing.T) {
	r := stats.NewRegistry()
	c := newLoop(r)
	f := set(t, r,
		conf.FilterStateValue{Key: "a", Factory: "envoy.string", Format: text("%REQUESTED_SERVER_NAME%")},
		conf.FilterStateValue{Key: streaminfo.KeyTCPCluster, ReadOnly: true, Format: text("%FILTER_STATE(a:PLAIN):4%")},
		conf.FilterStateValue{Key: streaminfo.KeyTCPCluster, Format: text("other")},
	)
	for _, row := range []struct{ name, want string }{{"blue.example", "blue"}, {"red.example", "red."}} {
		facts := connection()
		facts.Extra = nil // made on first use
		if row.name != "" {
			c.Facts = facts
			c.Extra().ServerName = append(c.Extra().ServerName, row.name...)
		}
		c.try(f, facts)
		if got := state(facts, streaminfo.KeyTCPCluster); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		c.Worker.PutExtra(facts.Extra)
	}
	wantValues(t, r, map[string]int64{"set_filter_state.refused": 2})
	if c.info.Conn != nil {
		t.Error("the facts of a connection are kept")
	}
}
