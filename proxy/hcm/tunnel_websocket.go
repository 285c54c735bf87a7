package hcm

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/header"
)

// A WebSocket handshake over HTTP/1 has a key and its answer, by which both sides know that the other one
// means it (RFC 6455 4); one over HTTP/2 has neither (RFC 8441 5). Where the two meet the proxy has its part in
// place of the side that does not: browsers send no key over HTTP/2, and HTTP/1 servers refuse who has none.

const (
	webSocketKeyName    = "sec-websocket-key"
	webSocketAcceptName = "sec-websocket-accept"
	// webSocketGUID is what the answer is made of besides the key.
	webSocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

	webSocketKeyBytes = 16
)

// field returns a field that has no known name; nil when there is none.
func field(h *header.Head, lower string) []byte {
	if i := h.Find(header.Unknown, lower); i >= 0 {
		return h.Bytes(h.Fields[i].Value)
	}
	return nil
}

// webSocketKey gives a handshake that came by HTTP/2, and goes on by HTTP/1, its key.
func (st *stream) webSocketKey(h *header.Head) {
	if !st.tun.webSocket || st.h2 == nil || field(h, webSocketKeyName) != nil {
		return
	}
	var nonce [webSocketKeyBytes]byte
	binary.LittleEndian.PutUint64(nonce[:8], st.w.Random.Uint64())
	binary.LittleEndian.PutUint64(nonce[8:], st.w.Random.Uint64())
	h.Add(header.Unknown, webSocketKeyName, base64.StdEncoding.AppendEncode(nil, nonce[:]))
	st.tun.keyed = true
}

// webSocketRefuted says whether a server's answer to the proxy's own key belongs to another one. A right one is
// taken out: the client has not asked for it. Servers that do not answer keys pass, as they do with Envoy, which
// sends them none.
func (st *stream) webSocketRefuted(h *header.Head) bool {
	if !st.tun.keyed || h.Transfer != header.Tunnel {
		return false
	}
	got := field(h, webSocketAcceptName)
	if got == nil {
		return false
	}
	want := appendWebSocketAccept(nil, field(&st.req, webSocketKeyName))
	right := string(got) == string(want)
	h.RemoveName(header.Unknown, webSocketAcceptName)
	return !right
}

// webSocketAccept answers the key of a client by HTTP/1 whose handshake a server by HTTP/2 has accepted.
func (st *stream) webSocketAccept(h *header.Head) {
	if key := field(&st.req, webSocketKeyName); key != nil && st.tun.webSocket && field(h, webSocketAcceptName) == nil {
		h.Add(header.Unknown, webSocketAcceptName, appendWebSocketAccept(nil, key))
	}
}

// appendWebSocketAccept appends the answer to a key (RFC 6455 4.2.2).
func appendWebSocketAccept(dst, key []byte) []byte {
	sum := sha1.Sum(append(append(make([]byte, 0, 64), key...), webSocketGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}
