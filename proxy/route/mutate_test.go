package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// requestAdds is a level that adds request headers.
func requestAdds(adds ...conf.HeaderValue) conf.HeaderMutations {
	return conf.HeaderMutations{RequestAdd: adds}
}

// mutated applies one route level to a request and returns it.
func mutated(t *testing.T, m conf.HeaderMutations, fields ...string) *header.Head {
	t.Helper()
	r := forward("r", prefix("/"))
	r.Headers = m
	h := request(t, "GET /p?q", fields...)
	res := mustCompile(t, oneHost(r)).Match(&Input{Head: h})
	res.MutateRequest(h, &streaminfo.Info{Request: h, RouteName: "r"}, nil)
	return h
}

func TestAppendActions(t *testing.T) {
	for _, row := range []struct {
		rule   string
		name   string
		action conf.AppendAction
		fields []string
		want   string
	}{
		{"RT-69 APPEND_IF_EXISTS_OR_ADD, absent", "x-a", conf.AppendIfExistsOrAdd, nil, "new"},
		{"RT-69 APPEND_IF_EXISTS_OR_ADD, there", "x-a", conf.AppendIfExistsOrAdd, []string{"x-a: old"}, "old|new"},
		{"RT-69 ADD_IF_ABSENT, absent", "x-a", conf.AddIfAbsent, nil, "new"},
		{"RT-69 ADD_IF_ABSENT, there", "x-a", conf.AddIfAbsent, []string{"X-A: old"}, "old"},
		{"RT-69 OVERWRITE_IF_EXISTS_OR_ADD, absent", "x-a", conf.OverwriteIfExistsOrAdd, nil, "new"},
		{"RT-69 OVERWRITE_IF_EXISTS_OR_ADD, there twice", "x-a", conf.OverwriteIfExistsOrAdd, []string{"x-a: 1", "b: c", "X-A: 2"}, "new"},
		{"RT-69 OVERWRITE_IF_EXISTS, absent", "x-a", conf.OverwriteIfExists, nil, ""},
		{"RT-69 OVERWRITE_IF_EXISTS, there twice", "x-a", conf.OverwriteIfExists, []string{"x-a: 1", "x-a: 2"}, "new"},
		{"RT-69 a known name is overwritten", "user-agent", conf.OverwriteIfExists, []string{"User-Agent: 1", "user-agent: 2"}, "new"},
		{"RT-69 a known name is appended", "via", conf.AppendIfExistsOrAdd, []string{"via: 1"}, "1|new"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			h := mutated(t, requestAdds(conf.HeaderValue{Name: row.name, Value: "new", Action: row.action}), row.fields...)
			if got := fields(h, row.name); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestEmptyValues(t *testing.T) {
	for _, row := range []struct {
		rule  string
		value conf.HeaderValue
		want  string
	}{
		{"RT-69 an empty constant is not added", conf.HeaderValue{Name: "x-a"}, "old"},
		{"RT-69 keep_empty_value adds it", conf.HeaderValue{Name: "x-a", KeepEmpty: true}, "old|"},
		{"RT-69d an unset value is empty, not a dash, and dropped", conf.HeaderValue{Name: "x-a", Value: "%REQ(x-none)%"}, "old"},
		{"RT-69d an unset value with text around it", conf.HeaderValue{Name: "x-a", Value: "<%REQ(x-none)%>"}, "old|<>"},
		{"RT-69d an unset value is kept when asked", conf.HeaderValue{Name: "x-a", Value: "%REQ(x-none)%", KeepEmpty: true}, "old|"},
		{"RT-69d an empty value overwrites nothing", conf.HeaderValue{Name: "x-a", Value: "%REQ(x-none)%", Action: conf.OverwriteIfExistsOrAdd}, "old"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if got := fields(mutated(t, requestAdds(row.value), "x-a: old"), "x-a"); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestRT69dFormats(t *testing.T) {
	h := mutated(t, requestAdds(
		conf.HeaderValue{Name: "x-percent", Value: "100%%"},
		conf.HeaderValue{Name: "x-path", Value: "was %REQ(:path)% on %REQ(x-in)%"},
		conf.HeaderValue{Name: "x-route", Value: "%ROUTE_NAME%"},
	), "x-in: side")
	for name, want := range map[string]string{"x-percent": "100%", "x-path": "was /p?q on side", "x-route": "r"} {
		if got := fields(h, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, bad := range []string{"%", "50% off", "%NO_SUCH_THING%", "%REQ(x", "a\r\nb", "a\x00b"} {
		r := forward("r", prefix("/"))
		r.Headers = conf.HeaderMutations{ResponseAdd: []conf.HeaderValue{{Name: "x-ok", Value: "1"}, {Name: "x-bad", Value: bad}}}
		refused(t, oneHost(r), "virtual_hosts[0].routes[0].response_headers_to_add[1].header: value")
	}
}

func TestRT69bNamesThatCannotChange(t *testing.T) {
	for _, name := range []string{":path", ":authority", ":x", "host", "", "x y", "X-Upper"} {
		add := oneHost(forward("r", prefix("/")))
		add.VirtualHosts[0].Headers = requestAdds(conf.HeaderValue{Name: name, Value: "v"})
		refused(t, add, "virtual_hosts[0].request_headers_to_add[0].header")
		remove := oneHost(forward("r", prefix("/")))
		remove.Headers = conf.HeaderMutations{ResponseRemove: []string{"ok", name}}
		refused(t, remove, "response_headers_to_remove[1]")
	}
}

func TestRT69bListsAreBounded(t *testing.T) {
	var adds []conf.HeaderValue
	for i := range 1000 {
		adds = append(adds, conf.HeaderValue{Name: fmt.Sprintf("x-%d", i), Value: "v"})
	}
	c := oneHost()
	c.Headers = requestAdds(adds...)
	mustCompile(t, c)
	c.Headers = requestAdds(append(adds, conf.HeaderValue{Name: "x", Value: "v"})...)
	refused(t, c, "request_headers_to_add: 1001 entries")
}

// leveled is a configuration whose three levels write their own name.
func leveled(mostSpecific bool, action conf.AppendAction) *conf.RouteConfiguration {
	level := func(name string) conf.HeaderMutations {
		v := []conf.HeaderValue{{Name: "x-level", Value: name, Action: action}}
		return conf.HeaderMutations{RequestAdd: v, ResponseAdd: v}
	}
	r := forward("r", prefix("/"))
	r.Headers = level("route")
	c := oneHost(r, forward("plain", prefix("/")))
	c.VirtualHosts[0].Headers, c.Headers = level("vhost"), level("config")
	c.MostSpecificMutationsWin = mostSpecific
	return c
}

func TestRT69cOrderOfLevels(t *testing.T) {
	for _, row := range []struct {
		mostSpecific bool
		action       conf.AppendAction
		want         string
	}{
		{false, conf.AppendIfExistsOrAdd, "route|vhost|config"},
		{false, conf.OverwriteIfExistsOrAdd, "config"},
		{false, conf.AddIfAbsent, "route"},
		{true, conf.AppendIfExistsOrAdd, "config|vhost|route"},
		{true, conf.OverwriteIfExistsOrAdd, "route"},
		{true, conf.AddIfAbsent, "config"},
	} {
		h := request(t, "GET /")
		res := mustCompile(t, leveled(row.mostSpecific, row.action)).Match(&Input{Head: h})
		res.MutateRequest(h, &streaminfo.Info{Request: h}, nil)
		if got := fields(h, "x-level"); got != row.want {
			t.Errorf("most specific wins %v, action %d: request %q, want %q", row.mostSpecific, row.action, got, row.want)
		}
		var response header.Head
		response.Reset(nil)
		res.MutateResponse(&response, &streaminfo.Info{Request: h, Response: &response}, nil)
		if got := fields(&response, "x-level"); got != row.want {
			t.Errorf("most specific wins %v, action %d: response %q, want %q", row.mostSpecific, row.action, got, row.want)
		}
	}
}

func TestRT69cLevelsOfARouteWithoutItsOwn(t *testing.T) {
	c := leveled(false, conf.AppendIfExistsOrAdd)
	c.VirtualHosts[0].Routes = c.VirtualHosts[0].Routes[1:]
	h := request(t, "GET /")
	found(mustCompile(t, c), h).MutateRequest(h, &streaminfo.Info{Request: h}, nil)
	if got := fields(h, "x-level"); got != "vhost|config" {
		t.Errorf("got %q", got)
	}
}

func TestRT69cInsideOneLevel(t *testing.T) {
	h := mutated(t, conf.HeaderMutations{
		RequestRemove: []string{"x-in", "user-agent"},
		RequestAdd: []conf.HeaderValue{
			{Name: "x-in", Value: "again", Action: conf.AddIfAbsent},
			{Name: "x-copy", Value: "%REQ(x-in)%"},
			{Name: "x-first", Value: "1"},
			{Name: "x-sees", Value: "[%REQ(x-first)%]"},
		},
	}, "x-in: original", "User-Agent: curl")
	for name, want := range map[string]string{
		"x-in":       "again",    // removed before it is added
		"x-copy":     "original", // read before it is removed
		"x-sees":     "[]",       // not what the same level adds
		"user-agent": "",
	} {
		if got := fields(h, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestRT69cALevelSeesTheOneBefore(t *testing.T) {
	r := forward("r", prefix("/"))
	r.Headers = requestAdds(conf.HeaderValue{Name: "x-a", Value: "route"})
	c := oneHost(r)
	c.Headers = requestAdds(conf.HeaderValue{Name: "x-b", Value: "%REQ(x-a)%"})
	h := request(t, "GET /")
	found(mustCompile(t, c), h).MutateRequest(h, &streaminfo.Info{Request: h}, nil)
	if got := fields(h, "x-b"); got != "route" {
		t.Errorf("got %q", got)
	}
}

func TestResponseMutations(t *testing.T) {
	// RT-61b and RT-65: redirects and direct responses have them too.
	m := conf.HeaderMutations{
		ResponseAdd:    []conf.HeaderValue{{Name: "content-type", Value: "text/html", Action: conf.OverwriteIfExistsOrAdd}, {Name: "x-was", Value: "%RESP(x-gone)%"}},
		ResponseRemove: []string{"x-gone"},
	}
	for _, r := range []*conf.Route{
		forward("r", prefix("/")),
		{Match: prefix("/"), Redirect: &conf.RedirectAction{Path: "/x"}},
		{Match: prefix("/"), Direct: &conf.DirectResponse{Status: 200}},
	} {
		r.Headers = m
		h := request(t, "GET /")
		var response header.Head
		response.Reset(nil)
		response.AddString(header.ContentType, "content-type", "text/plain")
		response.AddString(header.Unknown, "x-gone", "here")
		res := mustCompile(t, oneHost(r)).Match(&Input{Head: h})
		res.MutateResponse(&response, &streaminfo.Info{Request: h, Response: &response}, nil)
		if fields(&response, "content-type") != "text/html" || fields(&response, "x-was") != "here" || fields(&response, "x-gone") != "" {
			t.Errorf("%v: %q %q %q", res.Kind, fields(&response, "content-type"), fields(&response, "x-was"), fields(&response, "x-gone"))
		}
		res.MutateRequest(h, &streaminfo.Info{Request: h}, nil)
		if fields(h, "x-was") != "" {
			t.Errorf("%v: response mutations reached the request", res.Kind)
		}
	}
}

func TestLongValuesAndReturnedScratch(t *testing.T) {
	long := strings.Repeat("v", 3000)
	r := forward("r", prefix("/"))
	r.Headers = requestAdds(conf.HeaderValue{Name: "x-a", Value: "%REQ(x-in)%!"}, conf.HeaderValue{Name: "x-b", Value: "%REQ(x-in)%?"})
	table := mustCompile(t, oneHost(r))
	scratch := make([]byte, 0, 16)
	for range 2 { // the second time with the scratch that came back
		h := request(t, "GET /", "x-in: "+long)
		scratch = found(table, h).MutateRequest(h, &streaminfo.Info{Request: h}, scratch)
		if fields(h, "x-a") != long+"!" || fields(h, "x-b") != long+"?" {
			t.Fatal("values lost")
		}
	}
	if cap(scratch) < 6000 {
		t.Errorf("scratch did not come back: %d bytes", cap(scratch))
	}
}

func TestApplyHeader(t *testing.T) {
	h := request(t, "GET /", "x-a: old")
	ApplyHeader(h, &conf.HeaderValue{Name: "x-a", Action: conf.OverwriteIfExistsOrAdd}, []byte("new"))
	ApplyHeader(h, &conf.HeaderValue{Name: "x-a", Action: conf.AppendIfExistsOrAdd}, nil)
	ApplyHeader(h, &conf.HeaderValue{Name: "x-e", KeepEmpty: true}, nil)
	if fields(h, "x-a") != "new" || h.Find(header.Unknown, "x-e") < 0 {
		t.Errorf("x-a %q", fields(h, "x-a"))
	}
}

// TestRT69dOperators: every operator that routing.md 11 names can stand in a header's value.
func TestRT69dOperators(t *testing.T) {
	for _, op := range strings.Fields(`
DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT
CONNECTION_ID STREAM_ID PROTOCOL REQUESTED_SERVER_NAME HOSTNAME UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_PORT UPSTREAM_LOCAL_ADDRESS
UPSTREAM_HOST UPSTREAM_CLUSTER START_TIME(%Y) REQ(X?Y):3 RESP(X?Y):3 TRAILER(X?Y):3 RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_FLAGS
DYNAMIC_METADATA(ns:key) FILTER_STATE(key:PLAIN) ROUTE_NAME VIRTUAL_CLUSTER_NAME DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_PEER_DNS_SAN
DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_CERT
DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_TLS_VERSION DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_SESSION_ID`) {
		r := forward("r", prefix("/"))
		r.Headers = requestAdds(conf.HeaderValue{Name: "x-a", Value: "%" + op + "%"})
		h := request(t, "GET /")
		found(mustCompile(t, oneHost(r)), h).MutateRequest(h, sparse(h), nil) // whatever it says: it must not fail
	}
}

// sparse is a stream of which little is known.
func sparse(h *header.Head) *streaminfo.Info {
	return &streaminfo.Info{Request: h, Conn: &streaminfo.Connection{}, VirtualClusterName: "v"}
}
