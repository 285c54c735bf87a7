package admin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// identity makes a self-signed certificate with a serial number, and its key, in PEM.
func identity(t *testing.T, serial int64, change func(*x509.Certificate)) (chain, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Now().Add(48*time.Hour + time.Minute).Truncate(time.Second),
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// withTLS puts a TLS context before the first listener's filters, one on the first cluster, and secrets.
func withTLS(downstream, upstream, secrets string) []string {
	const socket = `transport_socket: { name: envoy.transport_sockets.tls, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.%sTlsContext, common_tls_context: %s } }`
	return []string{
		"static_resources:\n", "static_resources:\n  secrets: " + secrets + "\n",
		"    filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n        typed_config: &manager",
		"    filter_chains:\n    - " + fmt.Sprintf(socket, "Downstream", downstream) + "\n      filters:\n      - name: envoy.filters.network.http_connection_manager\n        typed_config: &manager",
		"    alt_stat_name: alt\n", "    alt_stat_name: alt\n    " + fmt.Sprintf(socket, "Upstream", upstream) + "\n",
	}
}

func TestCertsIsEmptyWithoutTLS(t *testing.T) {
	if got := start(t, true).json("/certs")["certificates"].([]any); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestCertsListsEveryContext(t *testing.T) {
	server, serverKey := identity(t, 0x0abc, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"a.test", "b.test"}, []net.IP{net.ParseIP("192.0.2.1")}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "mesh", Path: "/a"}}
	})
	ca, _ := identity(t, 0x01, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour).Truncate(time.Second) })
	dir := t.TempDir()
	path := filepath.Join(dir, "server.crt")
	for name, text := range map[string]string{"server.crt": server, "server.key": serverKey, "ca.crt": ca} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := start(t, true, withTLS(
		fmt.Sprintf(`{ tls_certificates: [{ certificate_chain: { filename: %q }, private_key: { filename: %q } }], validation_context: { trusted_ca: { filename: %q } } }`, path, filepath.Join(dir, "server.key"), filepath.Join(dir, "ca.crt")),
		fmt.Sprintf(`{ tls_certificates: [{ certificate_chain: { inline_string: %q }, private_key: { inline_string: %q } }] }`, server, serverKey),
		"[]")...)
	var got struct {
		Certificates []map[string][]map[string]any
	}
	if err := json.Unmarshal([]byte(f.get("/certs").body), &got); err != nil {
		t.Fatal(err)
	}
	parsed := func(text string) *x509.Certificate {
		block, _ := pem.Decode([]byte(text))
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	details := func(path, serial, days, pem string, names ...any) map[string]any {
		if names == nil {
			names = []any{}
		}
		return map[string]any{
			"path": path, "serial_number": serial, "subject_alt_names": names, "days_until_expiration": days,
			"valid_from": "2020-01-02T03:04:05Z", "expiration_time": parsed(pem).NotAfter.Format(time.RFC3339),
		}
	}
	names := []any{map[string]any{"dns": "a.test"}, map[string]any{"dns": "b.test"}, map[string]any{"uri": "spiffe://mesh/a"}, map[string]any{"ip_address": "192.0.2.1"}}
	want := []map[string][]map[string]any{
		{"ca_cert": {details(filepath.Join(dir, "ca.crt"), "01", "0", ca)}, "cert_chain": {details(path, "0abc", "2", server, names...)}},
		{"ca_cert": {}, "cert_chain": {details("<inline>", "0abc", "2", server, names...)}},
	}
	if _, ok := got.Certificates[0]["cert_chain"]; !ok || len(got.Certificates) != 2 {
		t.Fatalf("%v", got)
	}
	if len(got.Certificates[0]["ca_cert"]) == 0 { // in no order
		got.Certificates[0], got.Certificates[1] = got.Certificates[1], got.Certificates[0]
	}
	if diff := cmp.Diff(want, got.Certificates); diff != "" {
		t.Error(diff)
	}
}

// Nothing that the admin interface serves has a private key, a password or a ticket key in it.
func TestSecretsAreRedacted(t *testing.T) {
	chain, key := identity(t, 1, func(c *x509.Certificate) { c.DNSNames = []string{"a.test"} })
	tickets := make([]byte, 80)
	_, _ = rand.Read(tickets)
	ticket := base64.StdEncoding.EncodeToString(tickets)
	const password = "correct-horse"
	inline := fmt.Sprintf(`{ certificate_chain: { inline_string: %q }, private_key: { inline_bytes: %q }, password: { inline_string: %s } }`, chain, base64.StdEncoding.EncodeToString([]byte(key)), password)
	f := start(t, true, withTLS(
		fmt.Sprintf(`{ tls_certificates: [%s] }, session_ticket_keys_sds_secret_config: { name: tickets }`, inline),
		fmt.Sprintf(`{ tls_certificates: [{ certificate_chain: { inline_string: %q }, private_key: { inline_string: %q } }] }`, chain, key),
		fmt.Sprintf(`[{ name: tickets, session_ticket_keys: { keys: [{ inline_bytes: %q }] } }, { name: spare, tls_certificate: %s }]`, ticket, inline),
	)...)
	conn, err := tls.Dial("tcp", f.in, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	encoded := base64.StdEncoding.EncodeToString([]byte(key))
	leaks := []string{strings.Split(key, "\n")[1], "BEGIN PRIVATE", encoded[40:80], ticket, password}
	for _, path := range append(reading, "/config_dump?include_eds", "/config_dump?resource=bootstrap", "/config_dump?resource=static_listeners", "/config_dump?resource=static_clusters", "/config_dump?resource=static_secrets",
		"/clusters?format=json", "/listeners?format=json", "/stats?format=json", "/debug/pprof/cmdline") {
		body := f.get(path).body
		for _, leak := range leaks {
			if strings.Contains(body, leak) {
				t.Errorf("%s tells %q", path, leak)
			}
		}
	}

	dump := f.get("/config_dump").body
	// In the bootstrap, in the listener and cluster that use them, and among the secrets.
	if text, bytes := strings.Count(dump, "[redacted]"), strings.Count(dump, base64.StdEncoding.EncodeToString([]byte("[redacted]"))); text != 6 || bytes != 7 {
		t.Errorf("%d texts and %d bytes are redacted in\n%s", text, bytes, dump)
	}
	if !strings.Contains(dump, strconv.Quote(chain)) {
		t.Error("the certificate is not there")
	}
	for _, text := range regexp.MustCompile(`"inline_bytes": "([^"]*)"`).FindAllStringSubmatch(dump, -1) {
		if _, err := base64.StdEncoding.DecodeString(text[1]); err != nil {
			t.Errorf("%s: %v", text[1], err)
		}
	}
}

func TestConfigDumpListsStaticSecrets(t *testing.T) {
	chain, key := identity(t, 1, func(c *x509.Certificate) { c.DNSNames = []string{"a.test"} })
	certificate := fmt.Sprintf(`{ tls_certificates: [{ certificate_chain: { inline_string: %q }, private_key: { inline_string: %q } }] }`, chain, key)
	f := start(t, true, withTLS(certificate, certificate, fmt.Sprintf(
		`[{ name: one, tls_certificate: { certificate_chain: { inline_string: %q }, private_key: { inline_string: %q } } }, { name: two, validation_context: { trusted_ca: { inline_string: %q } } }]`, chain, key, chain))...)
	type config struct {
		Type   string `json:"@type"`
		Name   string
		Secret map[string]any
		Static []config `json:"static_secrets"`
	}
	read := func(path string) (out struct{ Configs []config }) {
		if err := json.Unmarshal([]byte(f.get(path).body), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	all := read("/config_dump").Configs
	section := all[len(all)-1]
	if section.Type != "type.googleapis.com/envoy.admin.v3.SecretsConfigDump" || len(section.Static) != 2 || section.Static[0].Name != "one" || section.Static[1].Name != "two" {
		t.Fatalf("%+v", section)
	}
	secret := section.Static[0].Secret
	if secret["@type"] != "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret" || secret["name"] != "one" {
		t.Errorf("%v", secret)
	}
	if got := read("/config_dump?resource=static_secrets&name_regex=^tw").Configs; len(got) != 1 || got[0].Name != "two" || got[0].Type != "type.googleapis.com/envoy.admin.v3.SecretsConfigDump.StaticSecret" {
		t.Errorf("%+v", got)
	}
}
