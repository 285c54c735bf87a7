package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// serverWait is how long one server has to answer one question.
	serverWait = 2 * time.Second
	// serverRounds is how often the list of servers is gone through.
	serverRounds = 2
	// maxAliases bounds chains of CNAME records, within and over messages.
	maxAliases = 16
	// maxDatagram is the most a server may send without EDNS0 (RFC 1035 4.2.1) and
	// then some; larger answers come by TCP.
	maxDatagram = 4096
)

// serverResolver asks the servers of dns_resolution_config itself, for their
// answers' times to live. UDP, and TCP for what is truncated.
type serverResolver struct {
	servers []netip.AddrPort
	tcp     bool
	wait    time.Duration
	good    atomic.Uint32 // the server that answered last is asked first
}

func newServerResolver(servers []netip.AddrPort, tcp bool) *serverResolver {
	return &serverResolver{servers: servers, tcp: tcp, wait: serverWait}
}

func (s *serverResolver) lookup(ctx context.Context, name string, v6 bool) (answer, error) {
	kind := dnsmessage.TypeA
	if v6 {
		kind = dnsmessage.TypeAAAA
	}
	q, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return answer{}, fmt.Errorf("dns: %q is no host name: %w", name, err)
	}
	ttl := uint32(1<<32 - 1)
	for range maxAliases {
		reply, err := s.ask(ctx, q, kind)
		if err != nil {
			return answer{}, fmt.Errorf("dns: looking up %q: %w", name, err)
		}
		addrs, next, err := reply.follow(q, &ttl)
		if err != nil {
			return answer{}, fmt.Errorf("dns: looking up %q: %w", name, err)
		}
		if len(addrs) > 0 {
			return answer{addrs: addrs, ttl: time.Duration(ttl) * time.Second}, nil
		}
		if sameName(next, q) || !reply.found {
			return answer{}, nil
		}
		q = next // the server did not resolve the alias to its end
	}
	return answer{}, fmt.Errorf("dns: looking up %q: %w", name, errAliases)
}

var (
	errAliases  = errors.New("chain of CNAME records is too long or a loop")
	errRefusing = errors.New("server failed")
)

// ask puts one question to the servers in turn until one of them answers it.
func (s *serverResolver) ask(ctx context.Context, q dnsmessage.Name, kind dnsmessage.Type) (*records, error) {
	var last error
	first := s.good.Load()
	for i := range uint32(serverRounds * len(s.servers)) {
		at := (first + i) % uint32(len(s.servers))
		r, err := s.exchange(ctx, s.servers[at], q, kind)
		if err == nil {
			s.good.Store(at)
			return r, nil
		}
		last = fmt.Errorf("server %v: %w", s.servers[at], err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (s *serverResolver) exchange(ctx context.Context, server netip.AddrPort, q dnsmessage.Name, kind dnsmessage.Type) (*records, error) {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: q, Type: kind, Class: dnsmessage.ClassINET}},
	}
	query, err := m.Pack()
	if err != nil {
		return nil, err
	}
	if !s.tcp {
		r, err := exchangeOver(ctx, "udp", server, query, &m)
		if err != nil || !r.truncated {
			return r, err
		}
	}
	return exchangeOver(ctx, "tcp", server, query, &m)
}

func exchangeOver(ctx context.Context, network string, server netip.AddrPort, query []byte, m *dnsmessage.Message) (*records, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if network == "tcp" {
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	for {
		reply, err := readReply(c, network)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, err
		}
		r, err := parseReply(reply, m)
		if network == "udp" && errors.Is(err, errStray) {
			continue // somebody else's datagram, or a forged one
		}
		return r, err
	}
}

func readReply(c net.Conn, network string) ([]byte, error) {
	if network == "udp" {
		b := make([]byte, maxDatagram)
		n, err := c.Read(b)
		return b[:n], err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

var errStray = errors.New("reply does not belong to the question")

// records is what a reply says.
type records struct {
	found     bool // the name exists
	truncated bool
	aliases   []alias
	addresses []address
}

type alias struct {
	from, to dnsmessage.Name
	ttl      uint32
}

type address struct {
	of   dnsmessage.Name
	addr netip.Addr
	ttl  uint32
}

// parseReply reads the reply to m, whose question it must repeat.
func parseReply(b []byte, m *dnsmessage.Message) (*records, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return nil, errStray
	}
	asked := m.Questions[0]
	q, err := p.Question()
	if err != nil || h.ID != m.ID || !h.Response || q.Type != asked.Type || q.Class != asked.Class || !sameName(q.Name, asked.Name) {
		return nil, errStray
	}
	if h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		return nil, fmt.Errorf("%w: %v", errRefusing, h.RCode)
	}
	r := &records{found: h.RCode == dnsmessage.RCodeSuccess, truncated: h.Truncated}
	if h.Truncated {
		return r, nil
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	for {
		err := r.parseAnswer(&p)
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *records) parseAnswer(p *dnsmessage.Parser) error {
	h, err := p.AnswerHeader()
	if err != nil {
		return err
	}
	switch h.Type {
	case dnsmessage.TypeA:
		a, err := p.AResource()
		r.addresses = append(r.addresses, address{h.Name, netip.AddrFrom4(a.A), h.TTL})
		return err
	case dnsmessage.TypeAAAA:
		a, err := p.AAAAResource()
		r.addresses = append(r.addresses, address{h.Name, netip.AddrFrom16(a.AAAA).Unmap(), h.TTL})
		return err
	case dnsmessage.TypeCNAME:
		a, err := p.CNAMEResource()
		r.aliases = append(r.aliases, alias{h.Name, a.CNAME, h.TTL})
		return err
	}
	return p.SkipAnswer()
}

// follow goes from name along the aliases and returns the addresses of the last
// one, or that one when it has none. ttl becomes the least met on the way.
func (r *records) follow(name dnsmessage.Name, ttl *uint32) (addrs []netip.Addr, last dnsmessage.Name, err error) {
	last = name
	for hops := 0; ; hops++ {
		next := r.aliasOf(last)
		if next == nil {
			break
		}
		if hops == maxAliases {
			return nil, last, errAliases
		}
		last, *ttl = next.to, min(*ttl, next.ttl)
	}
	for _, a := range r.addresses {
		if sameName(a.of, last) {
			addrs = append(addrs, a.addr)
			*ttl = min(*ttl, a.ttl)
		}
	}
	return addrs, last, nil
}

func (r *records) aliasOf(name dnsmessage.Name) *alias {
	for i := range r.aliases {
		if sameName(r.aliases[i].from, name) {
			return &r.aliases[i]
		}
	}
	return nil
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }
