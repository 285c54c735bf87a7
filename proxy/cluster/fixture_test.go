package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits until ok, ten seconds at most.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// nameserver is a DNS server with a zone that tests change. It speaks UDP and
// TCP on one port.
type nameserver struct {
	addr netip.AddrPort

	mu       sync.Mutex
	records  map[string][]dns.RR // by lower-case name and type: "a.test./A"
	rcode    int                 // answer of everything, when not 0
	truncate bool                // UDP answers come without records, marked truncated
	stray    bool                // UDP answers are preceded by forged ones
	silent   bool
	asked    []string // network name/type
}

func serve(t testing.TB) *nameserver {
	t.Helper()
	s := &nameserver{records: make(map[string][]dns.RR)}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp4", l.Addr().String())
	if err != nil {
		l.Close()
		t.Skipf("the port that is free for TCP is taken for UDP: %v", err)
	}
	s.addr = l.Addr().(*net.TCPAddr).AddrPort()
	for _, server := range []*dns.Server{
		{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.answer("tcp", w, m) })},
		{PacketConn: p, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.answer("udp", w, m) })},
	} {
		started, ended := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(ended); _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown(); <-ended })
	}
	return s
}

func (s *nameserver) answer(network string, w dns.ResponseWriter, m *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := m.Question[0]
	s.asked = append(s.asked, network+" "+q.Name+"/"+dns.TypeToString[q.Qtype])
	if s.silent {
		return
	}
	r := new(dns.Msg)
	r.SetReply(m)
	switch {
	case s.rcode != 0:
		r.Rcode = s.rcode
	case s.truncate && network == "udp":
		r.Truncated = true
	default:
		s.fill(r, q.Name, q.Qtype)
	}
	if s.stray && network == "udp" {
		for _, forge := range []func(f *dns.Msg){
			func(f *dns.Msg) { f.Id++ },
			func(f *dns.Msg) { f.Question[0].Name = "other.test." },
			func(f *dns.Msg) { f.Response = false },
		} {
			f := r.Copy()
			forge(f)
			f.Answer = []dns.RR{rr(q.Name + " 9 IN A 6.6.6.6")}
			_ = w.WriteMsg(f)
		}
		_, _ = w.Write([]byte("junk"))
	}
	_ = w.WriteMsg(r)
}

// fill follows aliases within the zone, as a resolving server does, unless the
// target is marked as not followed by "@" as its first label.
func (s *nameserver) fill(r *dns.Msg, name string, kind uint16) {
	known := false
	for range 40 {
		name = strings.ToLower(name)
		if records := s.records[name+"/"+dns.TypeToString[kind]]; len(records) > 0 {
			r.Answer = append(r.Answer, records...)
			return
		}
		for key := range s.records {
			known = known || strings.HasPrefix(key, name+"/")
		}
		alias := s.records[name+"/CNAME"]
		if len(alias) == 0 {
			break
		}
		r.Answer = append(r.Answer, alias[0])
		name = alias[0].(*dns.CNAME).Target
		if strings.HasPrefix(name, "elsewhere.") {
			return
		}
	}
	if !known {
		r.Rcode = dns.RcodeNameError
	}
}

func rr(text string) dns.RR {
	r, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return r
}

// set replaces the zone.
func (s *nameserver) set(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = make(map[string][]dns.RR)
	for _, line := range lines {
		r := rr(line)
		key := strings.ToLower(r.Header().Name) + "/" + dns.TypeToString[r.Header().Rrtype]
		s.records[key] = append(s.records[key], r)
	}
}

func (s *nameserver) change(f func(s *nameserver)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// questions returns and forgets what was asked.
func (s *nameserver) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.asked
	s.asked = nil
	return q
}

// zone is a resolver of fixed answers, by "name/4" and "name/6". A name that is
// not there fails.
type zone struct {
	mu      sync.Mutex
	answers map[string]answer
	held    chan struct{} // when set, lookups wait until it is closed
}

func (z *zone) lookup(ctx context.Context, name string, v6 bool) (answer, error) {
	z.mu.Lock()
	held := z.held
	z.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	key := name + "/4"
	if v6 {
		key = name + "/6"
	}
	a, ok := z.answers[key]
	if !ok {
		return answer{}, errors.New("server failed")
	}
	return a, nil
}

func (z *zone) set(key string, ttl time.Duration, ips ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.answers == nil {
		z.answers = make(map[string]answer)
	}
	a := answer{ttl: ttl}
	for _, ip := range ips {
		a.addrs = append(a.addrs, netip.MustParseAddr(ip))
	}
	z.answers[key] = a
}

func (z *zone) fail(key string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.answers, key)
}

func newRegistry() *stats.Registry { return stats.NewRegistry() }

// endpointAt is the nth endpoint of tests, at a priority.
func endpointAt(n int, priority uint32) *conf.Endpoint {
	return &conf.Endpoint{Address: addressOf(n), Weight: 1, Priority: priority}
}

// newCluster makes a cluster without a manager.
func newCluster(c *conf.Cluster, r *stats.Registry, t *transports) *Cluster {
	return makeCluster(c, surroundings{stats: r, transports: t})
}

// planOf is how a cluster that nobody manages balances.
func planOf(c *conf.Cluster) plan {
	return plan{conf: c, panicThreshold: c.PanicThreshold, localities: c.LocalityWeighted}
}
