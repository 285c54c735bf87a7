package harness

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS is a name server on UDP whose answers a test changes as it goes.
type DNS struct {
	server *dns.Server
	addr   netip.AddrPort

	mu      sync.Mutex
	records map[string][]netip.Addr
	failing bool
	held    bool
	asked   int
}

// NewDNS starts a server on a free port of 127.0.0.1. Names it does not know do not exist.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{records: make(map[string][]netip.Addr)}
	started := make(chan struct{})
	d.server = &dns.Server{Addr: "127.0.0.1:0", Net: "udp", Handler: d, NotifyStartedFunc: func() { close(started) }}
	failed := make(chan error, 1)
	go func() { failed <- d.server.ListenAndServe() }()
	select {
	case <-started:
	case err := <-failed:
		t.Fatal(err)
	}
	d.addr = netip.MustParseAddrPort(d.server.PacketConn.LocalAddr().String())
	t.Cleanup(func() {
		_ = d.server.Shutdown()
		<-failed
	})
	return d
}

// Addr returns where it answers.
func (d *DNS) Addr() netip.AddrPort { return d.addr }

// Set replaces the addresses of a name; none makes the name exist without any.
func (d *DNS) Set(name string, addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []netip.Addr{}
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	d.records[dns.Fqdn(name)] = list
}

// Fail makes every answer SERVFAIL, or takes that back.
func (d *DNS) Fail(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = on
}

// Hold leaves questions without an answer, or ends that.
func (d *DNS) Hold(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = on
}

// Asked returns how many questions came.
func (d *DNS) Asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// ServeDNS implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.held {
		return
	}
	m := new(dns.Msg)
	m.SetReply(q)
	question := q.Question[0]
	addrs, known := d.records[question.Name]
	switch {
	case d.failing:
		m.Rcode = dns.RcodeServerFailure
	case !known:
		m.Rcode = dns.RcodeNameError
	}
	for _, a := range addrs {
		hdr := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 1}
		switch {
		case d.failing:
		case question.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: a.AsSlice()})
		case question.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: hdr, AAAA: a.AsSlice()})
		}
	}
	_ = w.WriteMsg(m)
}
