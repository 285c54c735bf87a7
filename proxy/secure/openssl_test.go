package secure

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// openssl runs the tool to its end, with what it is told.
func openssl(t testing.TB, in string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(in)
	out, _ := cmd.CombinedOutput() // s_client ends in many ways
	return string(out)
}

// serve answers connections of s_client: each ends after one line.
func serve(t testing.TB, config *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer raw.Close()
				_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
				conn := tls.Server(raw, config)
				line := make([]byte, 1)
				for line[0] != '\n' {
					if _, err := io.ReadFull(conn, line); err != nil {
						return
					}
				}
				_, _ = io.WriteString(conn, "served\n")
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

func TestOpenSSLAsClient(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	server, client := leaf(t, ca, "a.test"), leaf(t, ca, "client")
	rsa := rsaLeaf(t, ca, "a.test")
	client.files(t, dir, "client")
	write(t, filepath.Join(dir, "ca"), encode(ca.cert))
	one := server.inline()
	one.OCSPStaple.Inline = ca.ocspFor(t, time.Now().Add(time.Hour), server)
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{SessionTickets: true, CommonTLS: conf.CommonTLS{
		Certificates: []*conf.TLSCertificate{one, rsa.inline()}, ALPN: []string{"h2", "http/1.1"},
		Validation: &conf.CertificateValidation{TrustedCA: ca.trust()},
	}})
	addr := serve(t, d.Config())
	session := filepath.Join(dir, "session")
	for _, row := range []struct {
		title string
		args  string
		want  []string
	}{
		{"TLS 1.2", "-tls1_2 -alpn http/1.1,h2", []string{"served", "Protocol  : TLSv1.2", "ALPN protocol: h2", "Verify return code: 0 (ok)"}},
		{"TLS 1.3", "-tls1_3 -alpn x", []string{"served", "New, TLSv1.3", "No ALPN negotiated", "Verify return code: 0 (ok)"}},
		{"TLS 1.1", "-tls1_1 -cipher ALL@SECLEVEL=0", []string{"alert protocol version"}},
		{"an RSA certificate", "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", []string{"served", "Cipher is ECDHE-RSA-AES256-GCM-SHA384", "Server public key is 2048 bit"}},
		{"a staple", "-status -sigalgs ECDSA+SHA256", []string{"served", "OCSP Response Status: successful", "Cert Status: good"}},
		{"a client certificate", "-cert " + dir + "/client.crt -key " + dir + "/client.key", []string{"served", "Acceptable client certificate CA names"}},
		{"a session begins", "-tls1_2 -sess_out " + session, []string{"served", "New, TLSv1.2"}},
		{"a session resumes", "-tls1_2 -sess_in " + session, []string{"served", "Reused, TLSv1.2"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			args := append([]string{"s_client", "-connect", addr, "-servername", "a.test", "-CAfile", filepath.Join(dir, "ca"), "-ign_eof"}, strings.Fields(row.args)...)
			out := openssl(t, "hello\n", args...)
			for _, want := range row.want {
				if !strings.Contains(out, want) {
					t.Errorf("openssl never said %q but:\n%s", want, out)
				}
			}
		})
	}
}

func TestOpenSSLAsServer(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	server, client := leaf(t, ca, "a.test"), leaf(t, ca, "client.test")
	server.files(t, dir, "server")
	write(t, filepath.Join(dir, "ca"), encode(ca.cert))
	openssl(t, "", "version") // skips
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := probe.Addr().String()
	probe.Close()
	cmd := exec.Command("openssl", "s_server", "-accept", addr, "-cert", dir+"/server.crt", "-key", dir+"/server.key",
		"-Verify", "1", "-verify_return_error", "-CAfile", dir+"/ca", "-alpn", "h2,http/1.1", "-rev")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for _, version := range []conf.TLSVersion{conf.TLS12, conf.TLS13} {
		r := newRig(t)
		c := &conf.UpstreamTLS{SNI: "a.test", MaxSessionKeys: 1, AutoSANValidation: true, CommonTLS: conf.CommonTLS{
			Parameters: conf.TLSParameters{Maximum: version}, Certificates: []*conf.TLSCertificate{client.inline()},
			Validation: &conf.CertificateValidation{TrustedCA: ca.trust()},
		}}
		config := r.up(c).ConfigFor(&Want{FallbackALPN: "h2"})
		for i := range 2 {
			var conn *tls.Conn
			eventually(t, "the server answers", func() bool {
				raw, err := net.Dial("tcp", addr)
				if err != nil {
					return false
				}
				conn = tls.Client(raw, config)
				return true
			})
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.WriteString(conn, "abc\n"); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 4)
			if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "cba\n" {
				t.Fatalf("%q, %v", answer, err)
			}
			st := conn.ConnectionState()
			if st.NegotiatedProtocol != "h2" || st.DidResume != (i == 1) {
				t.Errorf("version %d, connection %d: protocol %q, resumed %v", version, i, st.NegotiatedProtocol, st.DidResume)
			}
			conn.Close()
		}
	}
}

func TestEncryptedKeys(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	id, rsa := leaf(t, ca, "a.test"), rsaLeaf(t, ca, "a.test")
	id.files(t, dir, "ec")
	rsa.files(t, dir, "rsa")
	for _, row := range []struct {
		title, command, want string // want: an error
	}{
		{title: "PBES2, as openssl has it", command: "pkcs8 -topk8 -in ec.key -passout pass:secret"},
		{title: "AES-128, SHA-1", command: "pkcs8 -topk8 -in ec.key -v2 aes-128-cbc -v2prf hmacWithSHA1 -passout pass:secret"},
		{title: "AES-192, SHA-512", command: "pkcs8 -topk8 -in rsa.key -v2 aes-192-cbc -v2prf hmacWithSHA512 -passout pass:secret"},
		{title: "3DES", command: "pkcs8 -topk8 -in rsa.key -v2 des3 -passout pass:secret"},
		{title: "the old form", command: "rsa -in rsa.key -traditional -aes256 -passout pass:secret"},
		{title: "the old form of EC", command: "ec -in ec.key -aes128 -passout pass:secret"},
		{title: "scrypt", command: "pkcs8 -topk8 -in ec.key -scrypt -passout pass:secret", want: "private_key: is encrypted with key derivation 1.3.6.1.4.1.11591.4.11; there is PBKDF2 only"},
		{title: "PBES1", command: "pkcs8 -topk8 -in ec.key -v1 PBE-SHA1-3DES -passout pass:secret", want: "private_key: is encrypted by 1.2.840.113549.1.12.1.3; there is PBES2 only"},
		{title: "Camellia", command: "pkcs8 -topk8 -in ec.key -v2 camellia-256-cbc -passout pass:secret", want: "private_key: is encrypted by cipher 1.2.392.200011.61.1.1.1.4, which there is not"},
	} {
		t.Run(row.title, func(t *testing.T) {
			command := strings.NewReplacer("ec.key", dir+"/ec.key", "rsa.key", dir+"/rsa.key").Replace(row.command)
			key := []byte(openssl(t, "", strings.Fields(command)...))
			chain := id.chain()
			if strings.Contains(row.command, "rsa.key") {
				chain = rsa.chain()
			}
			err := CheckCertificate(chain, key, []byte("secret\n"))
			if row.want != "" {
				if err == nil || err.Error() != row.want {
					t.Errorf("error %v, want %s", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err, string(key))
			}
			if err := CheckCertificate(chain, key, []byte("other")); err == nil {
				t.Error("opens with any password")
			}
			if err := CheckCertificate(chain, key, nil); err == nil || err.Error() != "private_key: is encrypted, and there is no password" {
				t.Error(err)
			}
		})
	}
	must(t, CheckCertificate(id.chain(), id.keyPEM(), nil))
	for command, want := range map[string]string{
		"genrsa 1024":                     "private_key: an RSA key of 1024 bits, less than 2048",
		"ecparam -name secp224r1 -genkey": "private_key: a key on P-224 cannot serve TLS",
		"genpkey -algorithm x25519":       "private_key: a key of type *ecdh.PrivateKey cannot serve TLS",
	} {
		if err := CheckCertificate(id.chain(), []byte(openssl(t, "", strings.Fields(command)...)), nil); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", command, err, want)
		}
	}
	must(t, CheckTrustedCA(encode(ca.cert)))
	if err := CheckTrustedCA(append(encode(ca.cert), block("CERTIFICATE", []byte{1})...)); err == nil || !strings.HasPrefix(err.Error(), "certificate 2: ") {
		t.Error(err)
	}
	if CheckTicketKey(make([]byte, 80)) != nil || CheckTicketKey(nil) == nil {
		t.Error("ticket keys")
	}
}
