package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// issue makes a root, an authority between, certificates of it for two names, of one also with an RSA key,
// and a staple.
const issue = `
req() { openssl req -x509 -nodes -days 2 "$@" 2>/dev/null; }
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256"
req $ec -subj /CN=root -keyout root.key -out root.pem
req $ec -subj /CN=between -addext basicConstraints=critical,CA:TRUE -CA root.pem -CAkey root.key -keyout between.key -out between.pem
leaf() { name=$1; file=$2; shift 2
  req "$@" -subj /CN=$name -addext subjectAltName=DNS:$name -addext basicConstraints=CA:FALSE -CA between.pem -CAkey between.key -keyout $file.key -out $file.crt
  cat $file.crt between.pem > $file.pem; }
leaf a.test a $ec
leaf a.test rsa -newkey rsa:2048
leaf b.test b $ec
printf 'V\t491231235959Z\t\t%s\tunknown\t/CN=a.test\n' "$(openssl x509 -noout -serial -in a.crt | cut -d= -f2)" > index.txt
openssl ocsp -issuer between.pem -cert a.crt -no_nonce -reqout request.der 2>/dev/null
openssl ocsp -index index.txt -rsigner between.pem -rkey between.key -CA between.pem -reqin request.der -respout staple.der -ndays 1 2>/dev/null
`

// What a filter chain is configured for is what openssl s_client is shown.
func TestTLSShownToOpenSSL(t *testing.T) {
	openssl := harness.Tool(t, "openssl")
	harness.NoLeaks(t)
	dir := t.TempDir()
	sh := exec.Command("bash", "-e", "-c", issue)
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	pair := func(name, more string) string {
		return "{ certificate_chain: { filename: " + at(name+".pem") + " }, private_key: { filename: " + at(name+".key") + " }" + more + " }"
	}
	chain := func(name, params, certificates string) harness.Chain {
		socket := harness.ServerSocket(harness.Pair{}, "alpn_protocols: [http/1.1], tls_params: { "+params+" }", "")
		from, to := strings.Index(socket, "tls_certificates: ["), strings.Index(socket, "], ")
		socket = socket[:from] + "tls_certificates: [" + certificates + socket[to:]
		return harness.Chain{Name: name, HTTP: true, Match: harness.With("{ server_names: ["+name+"] }", socket)}
	}
	open := chain("a.test", "cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-RSA-AES256-GCM-SHA384]",
		pair("rsa", "")+", "+pair("a", ", ocsp_staple: { filename: "+at("staple.der")+" }")+", "+pair("b", ""))
	open.Match = strings.Replace(open.Match, "[a.test]", "[a.test, b.test]", 1)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(harness.NewRecorder(t, nil)), ListenerFilters: inspectTLS(),
		Chains: []harness.Chain{open, chain("new.test", "tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [P-384, X25519]", pair("a", "")), chain("old.test", "tls_maximum_protocol_version: TLSv1_2", pair("a", ""))},
	})
	const request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	served := "HTTP/1.1 200 OK"
	session12, session13 := at("session12"), at("session13")
	for _, row := range []struct {
		title, name, args string
		want              []string
	}{
		{"TLS 1.2", "a.test", "-tls1_2", []string{served, "New, TLSv1.2, Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", "Verify return code: 0 (ok)"}},
		{"TLS 1.3", "a.test", "-tls1_3", []string{served, "New, TLSv1.3, Cipher is TLS_AES_", "Verify return code: 0 (ok)"}},
		{"the best of both", "a.test", "", []string{served, "New, TLSv1.3"}},
		{"TLS 1.1, which nobody configured", "a.test", "-tls1_1 -cipher ALL@SECLEVEL=0", []string{"alert protocol version"}},
		{"TLS 1.3 only", "new.test", "-tls1_3", []string{served, "New, TLSv1.3"}},
		{"TLS 1.2 where 1.3 is the least", "new.test", "-tls1_2", []string{"alert protocol version"}},
		{"TLS 1.2 only", "old.test", "", []string{served, "New, TLSv1.2"}},
		{"TLS 1.3 where 1.2 is the most", "old.test", "-tls1_3", []string{"alert protocol version"}},
		{"a suite that is not configured", "a.test", "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", []string{"alert handshake failure"}},
		{"the whole chain", "a.test", "-showcerts", []string{"0 s:CN = a.test", "i:CN = between", "1 s:CN = between", "i:CN = root", "Verify return code: 0 (ok)"}},
		{"ECDSA before RSA", "a.test", "", []string{"Peer signature type: ECDSA", "id-ecPublicKey"}},
		{"RSA for who knows no other", "a.test", "-sigalgs RSA-PSS+SHA256", []string{served, "Peer signature type: RSA-PSS", "Server public key is 2048 bit"}},
		{"RSA by the suite", "a.test", "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", []string{served, "Cipher is ECDHE-RSA-AES256-GCM-SHA384"}},
		{"another name's certificate", "b.test", "", []string{served, "0 s:CN = b.test", "subject=CN = b.test"}},
		{"a curve", "new.test", "-groups P-384", []string{served, "Server Temp Key: ECDH, secp384r1, 384 bits"}},
		{"a curve that is not configured", "new.test", "-groups P-256", []string{"alert handshake failure"}},
		{"a staple", "a.test", "-status", []string{served, "OCSP Response Status: successful", "Cert Status: good"}},
		{"no staple", "b.test", "-status", []string{served, "OCSP response: no response sent"}},
		{"ALPN", "a.test", "-alpn h2,http/1.1", []string{served, "ALPN protocol: http/1.1"}},
		{"a session of TLS 1.2 begins", "a.test", "-tls1_2 -sess_out " + session12, []string{served, "New, TLSv1.2"}},
		{"and resumes", "a.test", "-tls1_2 -sess_in " + session12, []string{served, "Reused, TLSv1.2"}},
		{"a session of TLS 1.3 begins", "a.test", "-tls1_3 -sess_out " + session13, []string{served, "New, TLSv1.3"}},
		{"and resumes", "a.test", "-tls1_3 -sess_in " + session13, []string{served, "Reused, TLSv1.3"}},
		{"but not with another filter chain", "new.test", "-tls1_3 -sess_in " + session13, []string{served, "New, TLSv1.3"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			args := append([]string{"s_client", "-connect", p.Addr, "-servername", row.name, "-CAfile", at("root.pem"), "-ign_eof"}, strings.Fields(row.args)...)
			cmd := exec.Command(openssl, args...)
			cmd.Stdin = strings.NewReader(request)
			out, _ := cmd.CombinedOutput()
			for _, want := range row.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("openssl never said %q but:\n%s", want, out)
				}
			}
		})
	}
	p.WantStats(harness.Stats{inSSL + "session_reused": 2})
}

// A client may ask for new keys at any time, and not for another handshake.
func TestTLSKeyUpdatesAndRenegotiation(t *testing.T) {
	openssl := harness.Tool(t, "openssl")
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	start := func() *harness.Proxy {
		return harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), Loops: 1}, secured(t, a, "a.test", ""))
	}
	t.Run("key update", func(t *testing.T) {
		p := start()
		s := harness.StartSession(t, openssl, "s_client", "-connect", p.Addr, "-servername", "a.test", "-CAfile", a.File, "-tls1_3", "-crlf")
		for i, command := range []string{"K", "k", "K"} { // K asks one of us, too
			s.Send(fmt.Sprintf("GET /%d HTTP/1.1\nHost: a.test\n\n", i)).AwaitLine("200 OK")
			s.AwaitLine("content-length")
			s.Send(command + "\n").AwaitLine("KEYUPDATE")
		}
		s.Send("GET /last HTTP/1.1\nHost: a.test\nConnection: close\n\n").AwaitLine("200 OK")
		_, _ = s.End()
		p.WantStats(harness.Stats{inHTTP + "downstream_rq_2xx": 4, inHTTP + "downstream_cx_total": 1, inSSL + "handshake": 1, inSSL + "connection_error": 0, inHTTP + "downstream_cx_active": 0})
	})
	t.Run("renegotiation", func(t *testing.T) {
		p := start()
		s := harness.StartSession(t, openssl, "s_client", "-connect", p.Addr, "-servername", "a.test", "-CAfile", a.File, "-tls1_2", "-legacy_renegotiation", "-crlf")
		s.Send("GET /1 HTTP/1.1\nHost: a.test\n\n").AwaitLine("200 OK")
		s.Send("R\n")
		p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 0, inSSL + "handshake": 1, inSSL + "connection_error": 1})
		_, _ = s.End()
	})
}
