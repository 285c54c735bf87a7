package admin

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for _, row := range []struct{ title, in, want string }{
		{"nothing to hide", `{"name":"a","n":12345678901234567890,"on":true,"none":null,"list":[1,{"b":[]},"c"],"o":{}}`, `{"name":"a","n":12345678901234567890,"on":true,"none":null,"list":[1,{"b":[]},"c"],"o":{}}`},
		{"the order stays", `{"z":1,"a":2,"m":3}`, `{"z":1,"a":2,"m":3}`},
		{"a private key in the text", `{"private_key":{"inline_string":"PEM"}}`, `{"private_key":{"inline_string":"[redacted]"}}`},
		{"bytes stay base64", `{"private_key":{"inline_bytes":"UEVN"}}`, `{"private_key":{"inline_bytes":"W3JlZGFjdGVkXQ=="}}`},
		{"where a key is", `{"private_key":{"filename":"/k","watched_directory":{"path":"/"}}}`, `{"private_key":{"filename":"[redacted]","watched_directory":{"path":"[redacted]"}}}`},
		{"a variable", `{"private_key":{"environment_variable":"KEY"}}`, `{"private_key":{"environment_variable":"[redacted]"}}`},
		{"the chain beside it", `{"certificate_chain":{"filename":"/c"},"private_key":{"filename":"/k"},"ocsp_staple":{"filename":"/o"}}`, `{"certificate_chain":{"filename":"/c"},"private_key":{"filename":"[redacted]"},"ocsp_staple":{"filename":"/o"}}`},
		{"a password", `{"password":{"inline_string":"p"},"after":"x"}`, `{"password":{"inline_string":"[redacted]"},"after":"x"}`},
		{"ticket keys", `{"session_ticket_keys":{"keys":[{"filename":"/a"},{"inline_bytes":"AA=="}]}}`, `{"session_ticket_keys":{"keys":[{"filename":"[redacted]"},{"inline_bytes":"W3JlZGFjdGVkXQ=="}]}}`},
		{"the name of a secret", `{"session_ticket_keys_sds_secret_config":{"name":"tickets"}}`, `{"session_ticket_keys_sds_secret_config":{"name":"tickets"}}`},
		{"a list", `{"tls_certificates":[{"private_key":{"inline_string":"a"}},{"private_key":{"inline_string":"b"}}]}`, `{"tls_certificates":[{"private_key":{"inline_string":"[redacted]"}},{"private_key":{"inline_string":"[redacted]"}}]}`},
		{"numbers and switches of a secret", `{"pkcs12":{"a":1,"b":true,"c":null,"d":"s"}}`, `{"pkcs12":{"a":1,"b":true,"c":null,"d":"[redacted]"}}`},
		{"kinds that are refused today", `{"generic_secret":{"secret":{"inline_string":"s"}},"private_key_provider":{"typed_config":{"@type":"t","k":"s"}}}`, `{"generic_secret":{"secret":{"inline_string":"[redacted]"}},"private_key_provider":{"typed_config":{"@type":"t","k":"[redacted]"}}}`},
		{"a text of the same name is none", `{"metadata":{"password":"%REQ(X)%"}}`, `{"metadata":{"password":"%REQ(X)%"}}`},
		{"a value of the same name is none", `{"name":"private_key","list":["password",{"x":"session_ticket_keys"}]}`, `{"name":"private_key","list":["password",{"x":"session_ticket_keys"}]}`},
		{"text with quotes", `{"a\"b":"c\"d\\","private_key":{"x\"":"y"}}`, `{"a\"b":"c\"d\\","private_key":{"x\"":"[redacted]"}}`},
		{"cut short", `{"a":{"private_key":{"inline_string":"PEM"`, `{}`},
		{"no JSON", `private_key: x`, `{}`},
		{"nothing", ``, `{}`},
	} {
		got := string(redact(json.RawMessage(row.in)))
		if got != row.want {
			t.Errorf("%s:\ngot  %s\nwant %s", row.title, got, row.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: not JSON", row.title)
		}
	}
}

func TestOptionsAndArgumentsTellNoSecrets(t *testing.T) {
	const yaml = `{static_resources: {secrets: [{name: a, tls_certificate: {privateKey: {inline_string: "PEM"}}}]}}`
	got := publicOptions(map[string]any{"concurrency": 2, "config_path": "/etc/a.yaml", "config_yaml": yaml, "mode": "Serve"})
	if len(got) != 4 || got["concurrency"] != 2 || got["config_path"] != "/etc/a.yaml" || got["config_yaml"] != redacted || got["mode"] != "Serve" {
		t.Errorf("%v", got)
	}
	if got := publicOptions(map[string]any{"config_yaml": "admin: {}"})["config_yaml"]; got != "admin: {}" {
		t.Errorf("nothing to hide: %v", got)
	}
	before := os.Args
	defer func() { os.Args = before }()
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"sluice", "-c", "a.yaml"}, "sluice\x00-c\x00a.yaml"},
		{[]string{"sluice", "--config-yaml", yaml, "-l", "info"}, "sluice\x00--config-yaml\x00[redacted]\x00-l\x00info"},
	} {
		os.Args = row.args
		w := httptest.NewRecorder()
		cmdline(w, httptest.NewRequest("GET", "/debug/pprof/cmdline", nil))
		if got := w.Body.String(); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
	if !tellsSecrets("Session_Ticket_Keys") || tellsSecrets(strings.Repeat("x", 100)) {
		t.Error("names are found in any letter case, and nothing else is")
	}
}
