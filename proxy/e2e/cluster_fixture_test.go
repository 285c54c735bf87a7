package e2e

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// mortal is an HTTP origin that can be killed and revived on its address, and whose answers can change.
type mortal struct {
	t    testing.TB
	name string
	addr string
	// status is of answers to requests, healthStatus of those below /health; 0: 200.
	status, healthStatus atomic.Int32
	// header is a field of answers to health checks: "name: value"; askHeader of those to requests.
	header, askHeader atomic.Pointer[[2]string]
	asked, checked    atomic.Int64
	last              atomic.Pointer[http.Request] // health check

	mu     sync.Mutex
	server *http.Server
	down   net.Listener
}

func newMortal(t testing.TB, name string) *mortal {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{t: t, name: name, addr: l.Addr().String()}
	m.serve(l)
	t.Cleanup(m.kill)
	return m
}

func (m *mortal) serve(l net.Listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = l
	s := &http.Server{Handler: m}
	m.server = s
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(l) }()
}

func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	field, status := &m.askHeader, &m.status
	if len(r.URL.Path) >= 7 && r.URL.Path[:7] == "/health" {
		m.checked.Add(1)
		m.last.Store(r)
		field, status = &m.header, &m.healthStatus
	} else {
		m.asked.Add(1)
	}
	if f := field.Load(); f != nil {
		w.Header().Set(f[0], f[1])
	}
	if s := status.Load(); s != 0 {
		w.WriteHeader(int(s))
	}
	fmt.Fprint(w, m.name)
}

// kill closes the port and every connection.
func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != nil {
		_ = m.server.Close()
		_ = m.down.Close()
		m.server = nil
	}
}

// revive listens on the same port again.
func (m *mortal) revive() {
	m.t.Helper()
	var l net.Listener
	harness.Eventually(m.t, "the port is free again", func() bool {
		var err error
		l, err = net.Listen("tcp", m.addr)
		return err == nil
	})
	m.serve(l)
}

// Address makes it an origin of the harness.
func (m *mortal) Address() string { return m.addr }

// Stop is kill.
func (m *mortal) Stop() { m.kill() }

// bodyIs wants an answer of one of these origins.
func bodyIs(names ...string) func(*harness.Message) bool {
	return func(m *harness.Message) bool {
		for _, n := range names {
			if m.Status() == 200 && string(m.Body) == n {
				return true
			}
		}
		return false
	}
}
