package envoy

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// withTLS is the plain configuration with a transport socket on its filter chain and on its cluster;
// each context is a YAML flow mapping without its braces, empty for none.
func withTLS(t *testing.T, downstream, upstream string) string {
	t.Helper()
	text := string(plainText(t))
	socket := func(before, kind, body, indent string) {
		if body == "" {
			return
		}
		lines := "transport_socket:\n" + indent + "  name: tls\n" + indent +
			"  typed_config: { \"@type\": type.googleapis.com/" + tlsMessages + kind + ", " + body + " }\n" + indent
		text = strings.Replace(text, before, lines+before, 1)
	}
	socket("filters:\n      - name: hcm", "DownstreamTlsContext", downstream, "      ")
	socket("load_assignment:", "UpstreamTlsContext", upstream, "    ")
	return text
}

const serverContext = "common_tls_context: { tls_certificates: [{ certificate_chain: { filename: certs/server.pem }, private_key: { filename: certs/server.key } }] }"

func mustLoad(t *testing.T, text string) *Result {
	t.Helper()
	r, err := Load(Source{Path: "f.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTLSIsRefusedWhereItIsNotServed: a configuration with TLS must not run without it.
func TestTLSIsRefusedWhereItIsNotServed(t *testing.T) {
	inCertificates(t)
	tlsReady = false
	defer func() { tlsReady = true }()
	for context, path := range map[string]string{
		withTLS(t, serverContext, ""):    "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config",
		withTLS(t, "", "sni: a.example"): "static_resources.clusters[0].transport_socket.typed_config",
	} {
		_, err := Load(Source{Path: "f.yaml", Data: []byte(context)})
		if want := path + ": not supported: TLS is not part of this version"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSourcesOfCertificates takes the same certificate from each kind of data source.
func TestSourcesOfCertificates(t *testing.T) {
	inCertificates(t)
	files := certificateFiles()
	t.Setenv("SLUICE_CHAIN", string(files["server.pem"]))
	t.Setenv("SLUICE_KEY", string(files["server.key"]))
	quoted := func(name string) string { return strconv.Quote(string(files[name])) }
	encoded := func(name string) string { return base64.StdEncoding.EncodeToString(files[name]) }
	for name, row := range map[string]struct{ chain, key string }{
		"strings":   {"inline_string: " + quoted("server.pem"), "inline_string: " + quoted("server.key")},
		"bytes":     {"inline_bytes: " + encoded("server.pem"), "inline_bytes: " + encoded("server.key")},
		"variables": {"environment_variable: SLUICE_CHAIN", "environment_variable: SLUICE_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf("common_tls_context: { tls_certificates: [{ certificate_chain: { %s }, private_key: { %s } }] }", row.chain, row.key)
			r := mustLoad(t, withTLS(t, text, text))
			for _, certificates := range [][]*conf.TLSCertificate{r.Conf.Listeners[0].FilterChains[0].TLS.Certificates, r.Conf.Clusters[0].TLS.Certificates} {
				one := certificates[0]
				if !bytes.Equal(one.Chain.Inline, files["server.pem"]) || !bytes.Equal(one.Key.Inline, files["server.key"]) || one.Chain.File != "" {
					t.Errorf("the certificate is %+v", one)
				}
			}
		})
	}
}

// TestCertificateFilesAreNoChangeOfTheListener replaces the certificate's files: the TLS context takes
// them, the listener and its connections stay.
func TestCertificateFilesAreNoChangeOfTheListener(t *testing.T) {
	inCertificates(t)
	text := withTLS(t, serverContext, serverContext)
	before := mustLoad(t, text)
	for _, kind := range []string{"pem", "key"} {
		if err := os.WriteFile("certs/server."+kind, certificateFiles()["other."+kind], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	after := mustLoad(t, text)
	a, b := before.Conf.Listeners[0], after.Conf.Listeners[0]
	if !bytes.Equal(a.Raw, b.Raw) || a.SourcesDigest != b.SourcesDigest || b.SourcesDigest != "" {
		t.Errorf("the listener changed: digests %q and %q", a.SourcesDigest, b.SourcesDigest)
	}
	if !bytes.Equal(before.Conf.Clusters[0].Raw, after.Conf.Clusters[0].Raw) {
		t.Error("the cluster changed")
	}
}

// TestChangedSecretsAreChanges changes what a name stands for: the listener and the cluster that name
// it are others, and the bootstrap still shows the name.
func TestChangedSecretsAreChanges(t *testing.T) {
	inCertificates(t)
	load := func(secret, file string) *Result {
		t.Helper()
		named := "common_tls_context: { tls_certificate_sds_secret_configs: [{ name: mine" + file + " }] }"
		text := withTLS(t, named, named)
		return mustLoad(t, strings.Replace(text, "static_resources:\n", "static_resources:\n  secrets: ["+secret+"]\n", 1))
	}
	secret := func(name string) string {
		return "{ name: mine, tls_certificate: { certificate_chain: { filename: certs/" + name + ".pem }, private_key: { filename: certs/" + name + ".key } } }"
	}
	one, again, two := load(secret("server"), ""), load(secret("server"), ""), load(secret("other"), "")
	if !bytes.Equal(one.Conf.Listeners[0].Raw, again.Conf.Listeners[0].Raw) || !bytes.Equal(one.Conf.Clusters[0].Raw, again.Conf.Clusters[0].Raw) {
		t.Error("the same secret is a change")
	}
	if bytes.Equal(one.Conf.Listeners[0].Raw, two.Conf.Listeners[0].Raw) || bytes.Equal(one.Conf.Clusters[0].Raw, two.Conf.Clusters[0].Raw) {
		t.Error("another secret is no change")
	}
	if !bytes.Contains(one.Conf.Raw, []byte(`"tls_certificate_sds_secret_configs":[{"name":"mine"}]`)) {
		t.Errorf("the bootstrap is %s", one.Conf.Raw)
	}
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile("certs/mine.yaml", []byte(secret(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const file = ", sds_config: { path_config_source: { path: certs/mine.yaml } }"
	write("server")
	three := load("", file)
	write("other")
	if four := load("", file); bytes.Equal(three.Conf.Clusters[0].Raw, four.Conf.Clusters[0].Raw) {
		t.Error("another file of secrets is no change")
	}
}

// TestWhoMustShowACertificate: more than a root to check it by makes it required, as in Envoy.
func TestWhoMustShowACertificate(t *testing.T) {
	inCertificates(t)
	const ca = "trusted_ca: { filename: certs/ca.pem }, "
	pin := "verify_certificate_hash: [" + strings.Repeat("a", 64) + "]"
	for name, row := range map[string]struct {
		validation, more string
		want             bool
	}{
		"nothing is asked for":          {"", "", false},
		"a root checks those there are": {ca, "", false},
		"asked for":                     {ca, ", require_client_certificate: true", true},
		"names must match":              {ca + "match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: a } }]", "", true},
		"a pin must match":              {pin, "", true},
		"a pin, and no must":            {pin + ", trust_chain_verification: ACCEPT_UNTRUSTED", "", false},
		"a pin whatever else is said":   {pin, ", require_client_certificate: false", true},
	} {
		t.Run(name, func(t *testing.T) {
			context := strings.TrimSuffix(serverContext, " }") + ", validation_context: { " + row.validation + " } }" + row.more
			r := mustLoad(t, withTLS(t, context, ""))
			if got := r.Conf.Listeners[0].FilterChains[0].TLS.RequireClientCertificate; got != row.want {
				t.Errorf("required: %v", got)
			}
		})
	}
}

// TestCipherSuitesAreThoseTheyAreCalled derives crypto/tls's name of each suite from OpenSSL's.
func TestCipherSuitesAreThoseTheyAreCalled(t *testing.T) {
	for name, id := range cipherSuites {
		rest, exchange := name, "RSA"
		for _, e := range []string{"ECDHE-ECDSA", "ECDHE-RSA"} {
			if after, ok := strings.CutPrefix(name, e+"-"); ok {
				rest, exchange = after, strings.ReplaceAll(e, "-", "_")
			}
		}
		parts := strings.Split(rest, "-")
		want := "TLS_" + exchange + "_WITH_" + strings.NewReplacer("AES128", "AES_128", "AES256", "AES_256").Replace(parts[0])
		switch {
		case parts[0] == "CHACHA20":
			want += "_POLY1305_SHA256"
		case len(parts) == 2: // without a mode: CBC
			want += "_CBC_" + parts[1]
		default:
			want += "_" + strings.Join(parts[1:], "_")
		}
		if got := tls.CipherSuiteName(id); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, suite := range tls.CipherSuites() {
		if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
			continue // of TLS 1.3
		}
		known := false
		for _, id := range cipherSuites {
			known = known || id == suite.ID
		}
		if !known {
			t.Errorf("%s has no name", suite.Name)
		}
	}
}

// TestClustersOnDemandHaveNoSecretsByName: a file that holds a cluster can name files of secrets only.
func TestClustersOnDemandHaveNoSecretsByName(t *testing.T) {
	inCertificates(t)
	cluster := func(source string) []byte {
		return []byte("name: a\ntransport_socket:\n  name: tls\n  typed_config: { \"@type\": type.googleapis.com/" + upstreamTLS +
			", common_tls_context: { tls_certificate_sds_secret_configs: [{ name: server" + source + " }] } }\n")
	}
	_, err := parseCluster("c.yaml", cluster(""))
	want := `c.yaml:4:177: transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name: there is no tls_certificate "server" in static_resources.secrets`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c, err := parseCluster("c.yaml", cluster(", sds_config: { path_config_source: { path: certs/secret.yaml } }"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.TLS.Certificates[0].Key.File; got != "certs/server.key" {
		t.Errorf("the key is %q", got)
	}
	again, err := parseCluster("raw.json", c.Raw)
	if err != nil || !bytes.Equal(again.Raw, c.Raw) {
		t.Errorf("printed\n%s\nthen %v", c.Raw, err)
	}
}

// TestExamplesWithCertificates loads the examples of the command that need files: they are whole and draw
// no warnings.
func TestExamplesWithCertificates(t *testing.T) {
	examples := append(testFiles(t, "../../cmd/sluice/examples/tls/*.yaml", 3), testFiles(t, "../../cmd/sluice/examples/h2/*.yaml", 2)...)
	inCertificates(t)
	for name, like := range map[string]string{"shop": "server", "api": "other", "origin": "server", "proxy": "client"} {
		for _, kind := range []string{".pem", ".key"} {
			if err := os.WriteFile("certs/"+name+kind, certificateFiles()[like+kind], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range examples {
		r, err := Load(Source{Path: path})
		if err != nil {
			t.Error(err)
			continue
		}
		if len(r.Warnings) > 0 {
			t.Errorf("%s", r.Warnings)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), "# ") || !strings.Contains(string(text), "sluice -c "+filepath.Base(path)) {
			t.Errorf("%s does not begin with what it is for and how to run it: %v", path, err)
		}
	}
}
