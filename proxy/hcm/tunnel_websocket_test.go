package hcm

import "testing"

// The example of RFC 6455 1.3.
func TestWebSocketAccept(t *testing.T) {
	if got := appendWebSocketAccept(nil, []byte("dGhlIHNhbXBsZSBub25jZQ==")); string(got) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("%s", got)
	}
}
