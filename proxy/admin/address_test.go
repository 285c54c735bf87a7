package admin

import (
	"encoding/json"
	"testing"
)

// Addresses as core.v3.Address has them, internal listeners (UP-63) among them.
func TestAddressJSON(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80":    `{"socket_address":{"address":"127.0.0.1","port_value":80}}`,
		"/run/x":          `{"pipe":{"path":"/run/x"}}`,
		"envoy://inner/a": `{"envoy_internal_address":{"endpoint_id":"a","server_listener_name":"inner"}}`,
	} {
		if got, _ := json.Marshal(addressJSON(addr)); string(got) != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
}
