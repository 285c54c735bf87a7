//go:build !race

package format

import "testing"

func TestAppendingDoesNotAllocate(t *testing.T) {
	i, tls := fullInfo(), secured(t)
	i.Conn.Secure, i.UpstreamPeer = tls.Conn.Secure, tls.UpstreamPeer
	sni, err := Compile("%REQUESTED_SERVER_NAME%")
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 4096)
	everything := "%START_TIME% %START_TIME(%d/%b/%Y:%H:%M:%S %z)% %START_TIME_LOCAL% %REQ(:METHOD)% %REQ(X-NONE?X-LONG):3% %RESP(:STATUS)% %RESP(CONTENT-TYPE)% %TRAILER(X-TRAILER)% " +
		"%PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_SENT% %DURATION% %UPSTREAM_HOST% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT% %GRPC_STATUS% %UPSTREAM_HOST_NAME% " +
		"%FILTER_STATE(cluster)% %FILTER_STATE(cluster:PLAIN)% %DYNAMIC_METADATA(ns:one)% %DYNAMIC_METADATA(ns)% %REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %ACCESS_LOG_TYPE% " +
		"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_CERT_V_END% %DOWNSTREAM_LOCAL_DNS_SAN% %UPSTREAM_PEER_ISSUER% " +
		"%UPSTREAM_TLS_VERSION% %DOWNSTREAM_HANDSHAKE_DURATION%\n"
	text, err := Compile(everything)
	if err != nil {
		t.Fatal(err)
	}
	typed, err := CompileJSON(jsonObject("a", "%RESPONSE_CODE%", "b", everything, "c", "%LOCAL_REPLY_BODY%", "d", jsonObject("e", "%REQ(X)%"), "f", "%FILTER_STATE(cluster)%", "g", "%DYNAMIC_METADATA(ns)%"), true)
	if err != nil {
		t.Fatal(err)
	}
	if i.Conn.Peer().Remote() == nil {
		t.Fatal("the client showed no certificate")
	}
	for name, work := range map[string]func(){
		"Append":       func() { dst = text.Append(dst[:0], i) },
		"AppendHeader": func() { dst = text.AppendHeader(dst[:0], i) },
		"SNI":          func() { dst = sni.Append(dst[:0], tls) },
		"JSON":         func() { dst = typed.Append(dst[:0], i) },
	} {
		if n := testing.AllocsPerRun(100, work); n != 0 {
			t.Errorf("%s: %v allocations a line", name, n)
		}
	}
}
