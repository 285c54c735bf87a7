package cluster

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ttlEar notes the shortest time to live in the DNS answers that pass through
// the connections it dials for a net.Resolver.
type ttlEar struct {
	mu    sync.Mutex
	ttl   uint32
	heard bool
}

func (t *ttlEar) dial(ctx context.Context, network, address string, tcp bool) (net.Conn, error) {
	if tcp {
		network = "tcp"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// The resolver frames messages for anything that is no PacketConn.
	if u, ok := c.(*net.UDPConn); ok {
		return &heardPackets{u, t}, nil
	}
	return &heardStream{Conn: c, ear: t}, nil
}

// least returns the shortest time heard; 0 for none, as for answers that came
// from the hosts file.
func (t *ttlEar) least() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Duration(t.ttl) * time.Second
}

func (t *ttlEar) hear(message []byte) {
	var p dnsmessage.Parser
	if _, err := p.Start(message); err != nil {
		return
	}
	if err := p.SkipAllQuestions(); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		h, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		if !t.heard || h.TTL < t.ttl {
			t.heard, t.ttl = true, h.TTL
		}
	}
}

type heardPackets struct {
	*net.UDPConn
	ear *ttlEar
}

func (h *heardPackets) Read(b []byte) (int, error) {
	n, err := h.UDPConn.Read(b)
	if n > 0 {
		h.ear.hear(b[:n])
	}
	return n, err
}

type heardStream struct {
	net.Conn
	ear *ttlEar
	got []byte // the present message, with its two bytes of length
}

func (h *heardStream) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.got = append(h.got, b[:n]...)
	for len(h.got) >= 2 {
		end := 2 + int(h.got[0])<<8 + int(h.got[1])
		if len(h.got) < end {
			break
		}
		h.ear.hear(h.got[2:end])
		h.got = h.got[end:]
	}
	return n, err
}
