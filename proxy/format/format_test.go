package format

import (
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func head(fields ...string) *header.Head {
	h := new(header.Head)
	h.Reset(nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.AddString(header.Lookup([]byte(name)), name, value)
	}
	return h
}

// fullInfo is a stream with every fact: a POST that the upstream answered.
func fullInfo() *streaminfo.Info {
	req := head("user-agent: curl/8", "x-request-id: 12345678-0000", "x-long: abcdefghij", "x-empty: ", "cookie: a", "cookie: b", "content-type: application/grpc")
	req.SetMethod(header.MethodPost, "POST")
	req.SetPath([]byte("/rewritten?q=1"))
	req.SetAuthority([]byte("example.com:8080"))
	req.SetScheme("http")
	req.AddString(header.XEnvoyOriginalPath, "x-envoy-original-path", "/asked?q=1")
	req.AddString(header.XForwardedFor, "x-forwarded-for", "192.0.2.9")
	resp := head("content-type: application/grpc", "x-envoy-upstream-service-time: 42")
	resp.Status = 200
	const ms = int64(time.Millisecond)
	return &streaminfo.Info{
		Request: req, Response: resp, ResponseTrailers: head("grpc-status: 5", "x-trailer: t"),
		StartUnixNs: time.Date(2016, 4, 15, 20, 17, 0, 310_987_654, time.UTC).UnixNano(),
		Start:       1000 * ms, RequestEnd: 1005 * ms, UpstreamReady: 1007 * ms, UpstreamTxBegin: 1008 * ms, UpstreamTxEnd: 1010 * ms,
		UpstreamRxBegin: 1050 * ms, UpstreamRxEnd: 1060 * ms, DownstreamTxBegin: 1051 * ms, End: 1062*ms + 7,
		Protocol: header.HTTP11, UpstreamProtocol: header.HTTP10, ResponseCode: 200, Reason: reason.ViaUpstream,
		Flags: reason.UpstreamOverflow | reason.UpstreamRetryLimitExceeded, Details: "via upstream\tmaybe", TerminationDetails: "rbac",
		BytesReceived: 1, BytesSent: 2, DownstreamWireReceived: 3, DownstreamWireSent: 4, UpstreamWireReceived: 5, UpstreamWireSent: 6,
		DownstreamHeaderBytesReceived: 7, DownstreamHeaderBytesSent: 8, UpstreamHeaderBytesReceived: 9, UpstreamHeaderBytesSent: 10,
		Conn: &streaminfo.Connection{
			ID: 77, Remote: netip.MustParseAddrPort("10.0.0.1:5001"), Local: netip.MustParseAddrPort("[2001:db8::1]:443"),
			Listener: &streaminfo.Listener{FilterChain: "chain"}, Secure: &streaminfo.Secure{TransportFailure: "tls_error"}, Extra: fullExtra(),
		},
		RemoteAddress:   netip.MustParseAddrPort("192.0.2.9:0"),
		UpstreamAddress: netip.MustParseAddrPort("10.1.1.1:9000"), UpstreamHostName: "origin.example:9000", UpstreamLocal: netip.MustParseAddrPort("10.1.1.2:40000"),
		UpstreamConnectionID: 88, UpstreamCluster: "alt", UpstreamClusterRaw: "raw", UpstreamFailure: "connection refused", Attempts: 2,
		LogType:   streaminfo.DownstreamEnd,
		RouteName: "r1", StreamID: 99, LocalReplyBody: []byte("no\nroute"),
	}
}

// fullExtra is what listener and network filters found and set, behind a PROXY header.
func fullExtra() *streaminfo.Extra {
	x := &streaminfo.Extra{
		DirectRemote: netip.MustParseAddrPort("10.0.0.9:5009"), DirectLocal: netip.MustParseAddrPort("10.0.0.8:8443"),
		ServerName: []byte("sni.example"), JA3: []byte("0a1b"), JA4: []byte("t13d"),
	}
	x.State.Set("cluster", []byte(`blue "1"`), false)
	x.State.Set("empty", nil, false)
	x.State.Set("tlv:authority", []byte("a.example"), false)
	x.Metadata.Set("ns", "one", []byte("1\n"))
	x.Metadata.Set("other", "one", []byte("no"))
	x.Metadata.Set("ns", "two", []byte("zwei"))
	return x
}

func TestOperators(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FORMAT_TEST", "from % env")
	// want is the text with every fact; an empty stream reads "-" unless empty says otherwise.
	for _, row := range []struct{ format, want, empty string }{
		{"%REQ(:METHOD)%", "POST", ""},
		{"%REQ(:PATH)%", "/rewritten?q=1", ""},
		{"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/asked?q=1", ""},
		{"%REQ(X-NOT-THERE?:PATH)%", "/rewritten?q=1", ""},
		{"%REQ(X-Not-There?User-Agent)%", "curl/8", ""},
		{"%REQ(X-NOT-THERE)%", "-", ""},
		{"%REQ(:AUTHORITY)%", "example.com:8080", ""},
		{"%REQ(HOST)%", "example.com:8080", ""},
		{"%REQ(:SCHEME)%", "http", ""},
		{"%REQ(X-LONG):4%", "abcd", ""},
		{"%REQ(X-LONG):0%", "", "-"},
		{"%REQ(X-LONG):99%", "abcdefghij", ""},
		{"%REQ(X-NOT-THERE?X-LONG):2%", "ab", ""},
		{"%REQ(X-EMPTY)%", "", "-"},
		{"%REQ(COOKIE)%", "a", ""},
		{"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "42", ""},
		{"%RESP(:STATUS)%", "200", ""},
		{"%RESP(:STATUS):1%xx", "2xx", "-xx"},
		{"%RESP(X-NOT-THERE?:STATUS)%", "200", ""},
		{"%RESP(CONTENT-TYPE?:STATUS):11%", "application", ""},
		{"%TRAILER(X-TRAILER?X)%", "t", ""},
		{"%PROTOCOL%", "HTTP/1.1", ""},
		{"%UPSTREAM_PROTOCOL%", "HTTP/1.0", ""},
		{"%RESPONSE_CODE%", "200", "0"},
		{"%RESPONSE_CODE_DETAILS%", "via_upstream_maybe", ""},
		{"%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "via upstream\tmaybe", ""},
		{"%CONNECTION_TERMINATION_DETAILS%", "rbac", ""},
		{"%RESPONSE_FLAGS%", "UO,URX", ""},
		{"%RESPONSE_FLAGS_LONG%", "UpstreamOverflow,UpstreamRetryLimitExceeded", ""},
		{"%BYTES_RECEIVED% %BYTES_SENT%", "1 2", "0 0"},
		{"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT%", "3 4", "0 0"},
		{"%UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_SENT%", "5 6", "0 0"},
		{"%DOWNSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_SENT%", "7 8", "0 0"},
		{"%UPSTREAM_HEADER_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_SENT%", "9 10", "0 0"},
		{"%DURATION%", "62", ""},
		{"%REQUEST_DURATION%", "5", ""},
		{"%REQUEST_TX_DURATION%", "10", ""},
		{"%RESPONSE_DURATION%", "50", ""},
		{"%RESPONSE_TX_DURATION%", "12", ""},
		{"%UPSTREAM_CONNECTION_POOL_READY_DURATION%", "7", ""},
		{"%DOWNSTREAM_HANDSHAKE_DURATION%", "-", ""},
		{"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%", "62000007", ""},
		{"%COMMON_DURATION(US_TX_BEG:US_TX_END:us)%", "2000", ""},
		{"%COMMON_DURATION(US_RX_BEG:US_RX_END:ms)%", "10", ""},
		{"%COMMON_DURATION(DS_RX_END:DS_TX_BEG:ms)%", "46", ""},
		{"%COMMON_DURATION(DS_TX_END:DS_RX_BEG:ms)%", "-", ""},
		{"%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2", "0"},
		{"%UPSTREAM_HOST%", "10.1.1.1:9000", ""},
		{"%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%", "10.1.1.1:9000 10.1.1.1 9000", "- - -"},
		{"%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%", "10.1.1.2:40000 10.1.1.2 40000", "- - -"},
		{"%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "origin.example:9000 origin.example", "- -"},
		{"%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "alt raw", "- -"},
		{"%UPSTREAM_TRANSPORT_FAILURE_REASON%", "connection_refused", ""},
		{"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", "tls_error", ""},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "192.0.2.9:0 192.0.2.9 0", "- - -"},
		{"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_PORT%", "10.0.0.9:5009 10.0.0.9 5009", "- - -"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%", "[2001:db8::1]:443 2001:db8::1 443", "- - -"},
		{"%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_LOCAL_PORT%", "10.0.0.8:8443 10.0.0.8 8443", "- - -"},
		{"%CONNECTION_ID%", "77", ""},
		{"%UPSTREAM_CONNECTION_ID%", "88", "0"},
		{"%STREAM_ID%", "99", "0"},
		{"%ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %FILTER_CHAIN_NAME%", "r1 - chain", "- - -"},
		{"%REQUESTED_SERVER_NAME%", "sni.example", ""},
		{"%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%", "0a1b t13d", "- -"},
		{"%FILTER_STATE(cluster:PLAIN)%", `blue "1"`, ""},
		{"%FILTER_STATE(cluster:PLAIN):6%", `blue "`, ""},
		{"%FILTER_STATE(cluster:TYPED)%", `"blue \"1\""`, ""},
		{"%FILTER_STATE(cluster)%", `"blue \"1\""`, ""},
		{"%FILTER_STATE(cluster):3%", `"bl`, ""},
		{"%FILTER_STATE(tlv:FIELD:authority)%", "a.example", ""},
		{"%FILTER_STATE(tlv:FIELD:other)%", "-", ""},
		{"%FILTER_STATE(empty:PLAIN)%|", "|", "-|"},
		{"%FILTER_STATE(empty:TYPED)%", `""`, ""},
		{"%FILTER_STATE(Cluster:PLAIN)%", "-", ""},
		{"%DYNAMIC_METADATA(ns:two)%", "zwei", ""},
		{"%DYNAMIC_METADATA(ns:two):2%", "zw", ""},
		{"%DYNAMIC_METADATA(ns:two:deeper)%", "-", ""},
		{"%DYNAMIC_METADATA(ns:none)%", "-", ""},
		{"%DYNAMIC_METADATA(ns)%", `{"one":"1\n","two":"zwei"}`, ""},
		{"%DYNAMIC_METADATA(ns):6%", `{"one"`, ""},
		{"%DYNAMIC_METADATA(none)%", "-", ""},
		{"%ACCESS_LOG_TYPE%", "DownstreamEnd", "NotSet"},
		{"%LOCAL_REPLY_BODY%", "no\nroute", "EMPTY"},
		{"%GRPC_STATUS%", "NotFound", ""},
		{"%GRPC_STATUS(CAMEL_STRING)% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "NotFound NOT_FOUND 5 5", "- - - -"},
		{"%HOSTNAME%", host, host},
		{"%ENVIRONMENT(FORMAT_TEST)%", "from % env", "from % env"},
		{"%ENVIRONMENT(FORMAT_TEST_NOT_SET)%", "-", ""},
		{"%DOWNSTREAM_PEER_URI_SAN%%DOWNSTREAM_LOCAL_SUBJECT%%DOWNSTREAM_TLS_VERSION%%UPSTREAM_PEER_CERT_V_END%%UPSTREAM_TLS_CIPHER%", "-----", "-----"},
		{"%START_TIME%", "2016-04-15T20:17:00.310Z", ""},
		{"%EMIT_TIME%", "2016-04-15T20:17:00.372Z", ""},
		{"100%% of %PROTOCOL%%%", "100% of HTTP/1.1%", "100% of -%"},
		{"plain", "plain", "plain"},
	} {
		t.Run(row.format, func(t *testing.T) {
			f, err := Compile(row.format)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(f.Append(nil, fullInfo())); got != row.want {
				t.Errorf("with every fact %q, want %q", got, row.want)
			}
			empty := row.empty
			switch empty {
			case "":
				empty = "-"
			case "EMPTY":
				empty = ""
			}
			for _, i := range []*streaminfo.Info{{}, {Conn: &streaminfo.Connection{Extra: new(streaminfo.Extra)}, Request: head(), Response: head()}} {
				want := empty
				if row.format == "%CONNECTION_ID%" && i.Conn != nil {
					want = "0"
				}
				if got := string(f.Append(nil, i)); got != want {
					t.Errorf("OP-20: without facts %q, want %q", got, want)
				}
			}
		})
	}
}

func TestAddressForms(t *testing.T) {
	all, err := Compile("%UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		title string
		i     streaminfo.Info
		want  string
	}{
		{
			"unix sockets are paths without a port",
			streaminfo.Info{UpstreamPipe: "/run/o.sock", Conn: &streaminfo.Connection{Listener: &streaminfo.Listener{Pipe: "/run/l.sock"}}},
			"/run/o.sock /run/o.sock /run/o.sock - - /run/l.sock",
		},
		{
			"IPv4 in IPv6 reads as IPv4, zones are not shown",
			streaminfo.Info{UpstreamAddress: netip.MustParseAddrPort("[::ffff:10.0.0.1]:80"), Conn: &streaminfo.Connection{Remote: netip.MustParseAddrPort("[fe80::1%eth0]:9")}},
			"10.0.0.1:80 10.0.0.1:80 10.0.0.1 80 [fe80::1]:9 -",
		},
		{
			"a host name without a port, an address in brackets",
			streaminfo.Info{UpstreamAddress: netip.MustParseAddrPort("[::1]:80"), UpstreamHostName: "[::1]"},
			"[::1]:80 [::1] [::1] 80 - -",
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			if got := string(all.Append(nil, &row.i)); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestCompileErrorsNameOffsetAndOperator(t *testing.T) {
	for _, row := range []struct{ format, want string }{
		{"a %", "offset 2: '%' begins no operator; a percent sign is written %%"},
		{"50% off", "offset 2: '%' begins no operator; a percent sign is written %%"},
		{"%protocol%", "offset 0: '%' begins no operator; a percent sign is written %%"},
		{"x%PROTOCOL", "offset 1: %PROTOCOL has no closing '%'"},
		{"%PROTOCOL %", "offset 0: %PROTOCOL has no closing '%'"},
		{"%REQ(X%", "offset 0: %REQ: '(' without ')'"},
		{"%REQ(X):%", "offset 0: %REQ: no number after ':'"},
		{"%REQ(X):99999999999999999999%", "offset 0: %REQ: no number after ':'"},
		{"ab%NOPE%", "offset 2: %NOPE%: unknown operator"},
		{"%PROTOCOL()%", "offset 0: %PROTOCOL%: takes no argument"},
		{"%PROTOCOL:3%", "offset 0: %PROTOCOL%: takes no length"},
		{"%START_TIME:3%", "offset 0: %START_TIME%: takes no length"},
		{"%REQ%", `offset 0: %REQ%: header name ""`},
		{"%REQ(X?)%", `offset 0: %REQ%: header name ""`},
		{"%REQ(:STATUS)%", "offset 0: %REQ%: there is no header :status here"},
		{"%RESP(:PATH)%", "offset 0: %RESP%: there is no header :path here"},
		{"%TRAILER(:STATUS)%", "offset 0: %TRAILER%: there is no header :status here"},
		{"%RESPONSE_CODE_DETAILS(X)%", `offset 0: %RESPONSE_CODE_DETAILS%: argument "X": want ALLOW_WHITESPACES`},
		{"%GRPC_STATUS(X)%", `offset 0: %GRPC_STATUS%: argument "X": want CAMEL_STRING, SNAKE_STRING or NUMBER`},
		{"%ENVIRONMENT%", "offset 0: %ENVIRONMENT%: the name of a variable is missing"},
		{"%COMMON_DURATION%", `offset 0: %COMMON_DURATION%: argument "": want begin:end:unit`},
		{"%COMMON_DURATION(DS_RX_BEG:X:ms)%", `offset 0: %COMMON_DURATION%: unknown time point "X"`},
		{"%COMMON_DURATION(US_CX_BEG:US_CX_END:ms)%", "offset 0: %COMMON_DURATION%: time point US_CX_BEG is not supported"},
		{"%COMMON_DURATION(DS_RX_BEG:DS_RX_END:s)%", `offset 0: %COMMON_DURATION%: unit "s": want ms, us or ns`},
		{"%START_TIME(%Q)%", `offset 0: %START_TIME%: time format: unknown conversion "%Q"`},
		{"%START_TIME(%3S)%", `offset 0: %START_TIME%: time format: unknown conversion "%3S"`},
		{"%START_TIME(%E3Q)%", `offset 0: %START_TIME%: time format: unknown conversion "%E3Q"`},
		{"%START_TIME(%E)%", `offset 0: %START_TIME%: time format: unknown conversion "%E"`},
		{"%START_TIME(%n)%", "offset 0: %START_TIME%: time format: a line break or tab"},
		{"%START_TIME(a\nb)%", "offset 0: %START_TIME%: a line break in a time format"},
		{"%START_TIME(a%)%", "offset 0: %START_TIME%: time format: '%' at the end"},
		{"%DYNAMIC_METADATA%", `offset 0: %DYNAMIC_METADATA%: argument "": want namespace:key`},
		{"%DYNAMIC_METADATA(a:)%", `offset 0: %DYNAMIC_METADATA%: argument "a:": want namespace:key`},
		{"%DYNAMIC_METADATA(:b):3%", `offset 0: %DYNAMIC_METADATA%: argument ":b": want namespace:key`},
		{"%FILTER_STATE%", "offset 0: %FILTER_STATE%: the key is missing"},
		{"%FILTER_STATE(:PLAIN)%", "offset 0: %FILTER_STATE%: the key is missing"},
		{"%FILTER_STATE(k:plain)%", `offset 0: %FILTER_STATE%: argument "k:plain": want PLAIN, TYPED or FIELD after the key`},
		{"%FILTER_STATE(k:)%", `offset 0: %FILTER_STATE%: argument "k:": want PLAIN, TYPED or FIELD after the key`},
		{"%FILTER_STATE(k:FIELD)%", `offset 0: %FILTER_STATE%: argument "k:FIELD": FIELD, and nothing else, is followed by the name of a field`},
		{"%FILTER_STATE(k:FIELD:)%", `offset 0: %FILTER_STATE%: argument "k:FIELD:": FIELD, and nothing else, is followed by the name of a field`},
		{"%FILTER_STATE(k:PLAIN:f)%", `offset 0: %FILTER_STATE%: argument "k:PLAIN:f": FIELD, and nothing else, is followed by the name of a field`},
		{"%UPSTREAM_FILTER_STATE(k:PLAIN)%", "offset 0: %UPSTREAM_FILTER_STATE%: not supported: no filter sets state of an upstream connection"},
		{"%METHOD%", "offset 0: %METHOD%: not supported: generic proxy only; use REQ(:METHOD)"},
		{"%UPSTREAM_PEER_NOSE%", "offset 0: %UPSTREAM_PEER_NOSE%: unknown operator"},
		{"%DOWNSTREAM_X%", "offset 0: %DOWNSTREAM_X%: unknown operator"},
	} {
		if _, err := Compile(row.format); err == nil || err.Error() != row.want {
			t.Errorf("%q: %v, want %s", row.format, err, row.want)
		}
	}
}

func TestRT69dHeaderContext(t *testing.T) {
	for _, row := range []struct{ format, full, empty string }{
		{"%REQ(USER-AGENT)%", "curl/8", ""},
		{"a%UPSTREAM_HOST%b", "a10.1.1.1:9000b", "ab"},
		{"%LOCAL_REPLY_BODY%", "no route", ""}, // a line break must not end the header
		{"100%%", "100%", "100%"},
		{"x\r\ny\x00", "x  y ", "x  y "},
	} {
		f, err := Compile(row.format)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.AppendHeader([]byte("\n"), fullInfo())); got != "\n"+row.full {
			t.Errorf("%q reads %q, want %q", row.format, got[1:], row.full)
		}
		if got := string(f.AppendHeader(nil, &streaminfo.Info{})); got != row.empty {
			t.Errorf("%q reads %q without facts, want %q", row.format, got, row.empty)
		}
	}
}

func TestOmitEmptyValues(t *testing.T) {
	f, err := CompileText("[%REQ(X)%|%RESPONSE_FLAGS%]", true)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, &streaminfo.Info{})); got != "[|-]" {
		t.Fatalf("got %s, want [|-]", got)
	}
}

func TestStaticAndNeeds(t *testing.T) {
	for _, row := range []struct {
		format            string
		static            bool
		request, response bool
	}{
		{"", true, false, false},
		{"a%%b", true, false, false},
		{"%HOSTNAME%", true, false, false},
		{"%PROTOCOL%", false, false, false},
		{"%REQ(A)%", false, true, false},
		{"%RESP(A)%", false, false, true},
		{"%TRAILER(A)%", false, false, true},
		{"%GRPC_STATUS%", false, true, true},
		{"%GRPC_STATUS_NUMBER%", false, true, true},
	} {
		f, err := Compile(row.format)
		if err != nil {
			t.Fatal(err)
		}
		text, static := f.Static()
		if static != row.static || f.NeedsRequest() != row.request || f.NeedsResponse() != row.response {
			t.Errorf("%q: static %v, request %v, response %v", row.format, static, f.NeedsRequest(), f.NeedsResponse())
		}
		if static && text != string(f.Append(nil, fullInfo())) {
			t.Errorf("%q: static text %q differs", row.format, text)
		}
	}
}

func TestGRPCStatus(t *testing.T) {
	f, err := Compile("%GRPC_STATUS%")
	if err != nil {
		t.Fatal(err)
	}
	grpc := head("content-type: application/grpc+proto")
	for _, row := range []struct {
		title string
		i     streaminfo.Info
		want  string
	}{
		{"trailers win over the head", streaminfo.Info{Request: grpc, Response: head("grpc-status: 1"), ResponseTrailers: head("grpc-status: 0")}, "OK"},
		{"trailers only", streaminfo.Info{Request: grpc, Response: head("grpc-status: 14")}, "Unavailable"},
		{"a number without a name", streaminfo.Info{Request: grpc, Response: head("grpc-status: 99")}, "99"},
		{"not a number: HTTP status instead", streaminfo.Info{Request: grpc, Response: head("grpc-status: x"), ResponseCode: 503}, "Unavailable"},
		{"HTTP 404", streaminfo.Info{Request: grpc, ResponseCode: 404}, "Unimplemented"},
		{"HTTP 400", streaminfo.Info{Request: grpc, ResponseCode: 400}, "Internal"},
		{"HTTP 401", streaminfo.Info{Request: grpc, ResponseCode: 401}, "Unauthenticated"},
		{"HTTP 403", streaminfo.Info{Request: grpc, ResponseCode: 403}, "PermissionDenied"},
		{"HTTP 200 without a status", streaminfo.Info{Request: grpc, ResponseCode: 200}, "Unknown"},
		{"no response", streaminfo.Info{Request: grpc}, "-"},
		{"not gRPC", streaminfo.Info{Request: head("content-type: text/plain"), Response: head("grpc-status: 1"), ResponseCode: 200}, "-"},
	} {
		if got := string(f.Append(nil, &row.i)); got != row.want {
			t.Errorf("%s: %s, want %s", row.title, got, row.want)
		}
	}
}

// A TCP session has no heads, no protocol and no status: what asks for them prints as unset (TCP-65).
func TestTCP65LinesOfTCPSessions(t *testing.T) {
	const ms = int64(time.Millisecond)
	i := &streaminfo.Info{
		StartUnixNs: time.Date(2016, 4, 15, 20, 17, 0, 310_000_000, time.UTC).UnixNano(), Start: ms, End: 8 * ms,
		Reason: reason.SessionIdle, Details: "idle", BytesReceived: 12, BytesSent: 34, LogType: streaminfo.TCPConnectionEnd,
		Conn:            &streaminfo.Connection{ID: 5, Remote: netip.MustParseAddrPort("192.0.2.1:7"), Local: netip.MustParseAddrPort("10.0.0.1:443"), Extra: fullExtra()},
		UpstreamAddress: netip.MustParseAddrPort("10.1.1.1:9000"), UpstreamCluster: "blue",
	}
	for _, row := range []struct{ format, want string }{
		{
			`[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`,
			`[2016-04-15T20:17:00.310Z] "- - -" 0 - 12 34 7 - "-" "10.1.1.1:9000"`,
		},
		{"%RESP(:STATUS)% %TRAILER(X)% %GRPC_STATUS% %UPSTREAM_PROTOCOL% %ROUTE_NAME%", "- - - - -"},
		{"%ACCESS_LOG_TYPE% %UPSTREAM_CLUSTER% %CONNECTION_ID% %RESPONSE_CODE_DETAILS%", "TcpConnectionEnd blue 5 idle"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "192.0.2.1:7 10.0.0.9:5009"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%", "10.0.0.1:443 10.0.0.8:8443"},
	} {
		f, err := Compile(row.format)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.Append(nil, i)); got != row.want {
			t.Errorf("%s\nreads %s\nwant  %s", row.format, got, row.want)
		}
	}
}

func TestControlCharactersOfClientsEndNoLine(t *testing.T) {
	x := new(streaminfo.Extra)
	x.State.Set("k", []byte("a\r\nforged\x7f"), false)
	x.Metadata.Set("n", "k", []byte("b\nforged"))
	f, err := Compile("%FILTER_STATE(k:PLAIN)% %DYNAMIC_METADATA(n:k)%")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, &streaminfo.Info{Conn: &streaminfo.Connection{Extra: x}})); got != "a!!forged! b!forged" {
		t.Errorf("got %q", got)
	}
}

func TestNumbersReadAsStrconvs(t *testing.T) {
	for _, v := range []uint64{0, 1, 9, 10, 11, 99, 100, 101, 204, 999, 1000, 1001, 65535, math.MaxUint64} {
		if got, want := string(appendUint([]byte("x"), v)), "x"+strconv.FormatUint(v, 10); got != want {
			t.Errorf("%d reads %s", v, got)
		}
	}
}
