package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Many clients do all kinds of things at a time, some of which they give up in the middle. What they do
// not give up is whole, and nothing is left of the rest.
func TestH2Random(t *testing.T) {
	for _, window := range []uint32{65535, 16 << 20} {
		t.Run(fmt.Sprint("windows of ", window), func(t *testing.T) {
			harness.NoLeaks(t)
			top := one(harness.NewOrigin(t, "a"))
			top.Loops = 2
			top.Listener = "per_connection_buffer_limit_bytes: 40000"
			p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
				m.HTTP2.InitialStreamWindowSize, m.HTTP2.InitialConnectionWindowSize = window, window
				m.MaxRequestsPerConnection = 150
			})
			var done sync.WaitGroup
			var clients []*http.Client
			for client := range 4 {
				c := clientH2(t)
				clients = append(clients, c)
				for worker := range 8 {
					r := rand.New(rand.NewPCG(uint64(client), uint64(worker)))
					done.Go(func() {
						for range 40 {
							if err := randomExchange(c, p.Addr, r); err != nil {
								t.Errorf("client %d, worker %d: %v", client, worker, err)
								return
							}
						}
					})
				}
			}
			done.Wait()
			// A request that was given up may keep its connection from being idle for a moment.
			harness.Eventually(t, "the clients to have closed their connections", func() bool {
				for _, c := range clients {
					c.CloseIdleConnections()
				}
				return p.Stat("http.in.downstream_cx_active") == 0
			})
		})
	}
}

// randomExchange makes one request and checks its answer, unless it gives it up.
func randomExchange(c *http.Client, addr string, r *rand.Rand) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := r.IntN(200_000)
	givesUp := r.IntN(4) == 0
	method, path, want := http.MethodGet, fmt.Sprintf("/bytes/%d", n), bench.Pattern(nil, n)
	var body io.Reader
	switch r.IntN(3) {
	case 0:
		path = fmt.Sprintf("/chunked/%d", n)
	case 1:
		method, path, body = http.MethodPost, "/echo", bytes.NewReader(want)
		if r.IntN(2) == 0 {
			body = io.MultiReader(body) // of unknown length
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, body)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	if givesUp {
		_, _ = io.CopyN(io.Discard, resp.Body, int64(r.IntN(n+1)))
		cancel()
		return nil
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !bytes.Equal(got, want) {
		return fmt.Errorf("%s %s: %d, %d bytes of %d: %w", method, path, resp.StatusCode, len(got), n, err)
	}
	return nil
}

// Bytes of no sense end the connection and nothing else.
func TestH2RandomFrames(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	p := serveH2(t, top, nil)
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		w := dialH2(t, p)
		for range 1 + r.IntN(8) {
			payload := make([]byte, r.IntN(40))
			for i := range payload {
				payload[i] = byte(r.IntN(256))
			}
			if w.WriteRawFrame(http2.FrameType(r.IntN(11)), http2.Flags(r.IntN(256)), uint32(r.IntN(8)), payload) != nil {
				break // the proxy has ended it
			}
		}
		w.Conn.Close()
	}
	w := dialH2(t, p)
	w.get(1, "/")
	w.wantHello(1)
	w.Conn.Close()
}

// The same requests by HTTP/1 and by HTTP/2 are the same to the origin, and so are the answers.
func TestH2IsWhatHTTP1Is(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		return harness.Reply(fmt.Sprintf("%s %d", m.Path(), len(m.Body)), "X-A: b", "Vary: x", "Vary: y")
	})
	top := one(o)
	top.Manager = "use_remote_address: true\ngenerate_request_id: false\nvia: sluice"
	p := serveH2(t, top, nil)
	h2, h1 := clientH2(t), &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: harness.Patience}
	defer h1.CloseIdleConnections()
	for _, row := range []struct {
		method, path, body string
		fields             []string
	}{
		{"GET", "/a?b=c", "", []string{"Accept: x", "X-Many: 1", "X-Many: 2", "Cookie: a=1; b=2"}},
		{"POST", "/p", "hello", []string{"Content-Type: text/plain"}},
		{"PUT", "/empty", "", nil},
		{"DELETE", "/d", "", []string{"X-Forwarded-For: 1.2.3.4", "X-Envoy-Internal: true"}},
		{"PATCH", "/%7Ea//b/../c", "x", nil},
	} {
		var heads, answers [2]string
		for i, c := range []*http.Client{h1, h2} {
			a := mustAskH2(t, c, row.method, "http://"+p.Addr+row.path, bytes.NewReader([]byte(row.body)), row.fields...)
			delete(a.header, "Date")
			delete(a.header, "X-Envoy-Upstream-Service-Time")
			m := o.Last(t)
			heads[i] = m.Start + fmt.Sprint(sortedFields(m)) + string(m.Body)
			answers[i] = fmt.Sprint(a.status, a.header, string(a.body))
		}
		if heads[0] != heads[1] || answers[0] != answers[1] {
			t.Errorf("%s %s:\n by HTTP/1 %s\n  %s\n by HTTP/2 %s\n  %s", row.method, row.path, heads[0], answers[0], heads[1], answers[1])
		}
	}
	h2.CloseIdleConnections()
}

func sortedFields(m *harness.Message) map[string]string {
	out := map[string]string{}
	for _, f := range m.Fields {
		if f.Name != "user-agent" { // the two clients' own
			out[f.Name] = m.Get(f.Name)
		}
	}
	return out
}
