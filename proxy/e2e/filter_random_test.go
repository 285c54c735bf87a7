package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// jumble is a filter that stops, keeps, cuts up and resumes at random, and changes nothing.
type jumble struct {
	random *rand.Rand
	s      filter.Stream
	timers [2]jumbleTimer
}

type jumbleTimer struct {
	filter.Timer
	f    *jumble
	side filter.Side
}

func (t *jumbleTimer) OnTimer(*filter.Timer) { t.f.s.Continue(t.side) }

func newJumble(seed uint64) filter.Spec {
	return filter.Spec{Sees: filter.Everything, New: func() filter.Filter {
		seed++
		f := &jumble{random: rand.New(rand.NewPCG(seed, 1))}
		for side := range f.timers {
			f.timers[side].f, f.timers[side].side = f, filter.Side(side)
			f.timers[side].Handler = &f.timers[side]
		}
		return f
	}}
}

func (f *jumble) answer(s filter.Stream, side filter.Side) filter.Status {
	f.s = s
	if f.timers[side].Armed() {
		return filter.Buffer
	}
	switch f.random.IntN(4) {
	case 0:
		s.After(&f.timers[side].Timer, time.Duration(f.random.IntN(3000))*time.Microsecond)
		return filter.Buffer
	case 1:
		s.After(&f.timers[side].Timer, time.Duration(f.random.IntN(3000))*time.Microsecond)
		return filter.Pause
	}
	return filter.Continue
}

func (f *jumble) data(s filter.Stream, side filter.Side, p []byte, end bool) filter.Status {
	status := f.answer(s, side)
	if status != filter.Continue || f.random.IntN(3) > 0 {
		return status
	}
	n := f.random.IntN(len(p) + 1)
	s.Send(side, p[:n], false)
	s.Send(side, p[n:], end)
	return filter.Consume
}

func (f *jumble) RequestHead(s filter.Stream, _ bool) filter.Status {
	return f.answer(s, filter.Request)
}

func (f *jumble) RequestData(s filter.Stream, p []byte, end bool) filter.Status {
	return f.data(s, filter.Request, p, end)
}

func (f *jumble) RequestTrailers(s filter.Stream) filter.Status { return f.answer(s, filter.Request) }

func (f *jumble) ResponseHead(s filter.Stream, _ bool) filter.Status {
	return f.answer(s, filter.Response)
}

func (f *jumble) ResponseData(s filter.Stream, p []byte, end bool) filter.Status {
	return f.data(s, filter.Response, p, end)
}

func (f *jumble) ResponseTrailers(s filter.Stream) filter.Status {
	return f.answer(s, filter.Response)
}

func (f *jumble) Done(s filter.Stream) {
	s.Stop(&f.timers[0].Timer)
	s.Stop(&f.timers[1].Timer)
}

// echoOrigin sends bodies and trailers back.
func echoOrigin(t *testing.T) harness.Origin {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Length", fmt.Sprint(len(body)))
		w.Header().Set("X-Trailer", r.Trailer.Get("X-Sum"))
		w.WriteHeader(200)
		w.(http.Flusher).Flush() // else a short answer has a length, and no trailers in HTTP/1
		for len(body) > 0 {
			n := min(len(body), 30_000)
			_, _ = w.Write(body[:n])
			body = body[n:]
		}
		w.Header().Set("X-Sum", "back")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return serverOrigin{s}
}

// serverOrigin is a net/http server as an origin.
type serverOrigin struct{ *httptest.Server }

func (o serverOrigin) Address() string { return o.Listener.Addr().String() }

func (o serverOrigin) Stop() {
	o.CloseClientConnections()
	o.Close()
}

// dribble hands a body out in pieces.
type dribble struct {
	r    io.Reader
	size int
}

func (d *dribble) Read(p []byte) (int, error) { return d.r.Read(p[:min(len(p), d.size)]) }

// Whatever filters do in between, both ends see the same messages.
func TestFiltersThatStopAndGoOnChangeNothing(t *testing.T) {
	harness.NoLeaks(t)
	for _, row := range []struct {
		title   string
		cluster string
		limit   string
		h2      bool
		filters int
	}{
		{"HTTP/1 to HTTP/1", "", "", false, 1},
		{"HTTP/1 to HTTP/1, three filters", "", "", false, 3},
		{"HTTP/2 to HTTP/1, three filters", "", "", true, 3},
		{"HTTP/2 to HTTP/2, three filters", "http2_protocol_options: {}", "", true, 3},
		{"HTTP/1 to HTTP/2, three filters", "http2_protocol_options: {}", "", false, 3},
	} {
		t.Run(row.title, func(t *testing.T) {
			top := one(echoOrigin(t))
			top.Listener = row.limit
			top.Manager = "http_protocol_options: { enable_trailers: true }"
			top.Clusters[0].Fields = row.cluster
			if row.cluster == "" {
				top.Clusters[0].Fields = "http_protocol_options: { enable_trailers: true }"
			}
			var filters []goFilter
			for i := range row.filters {
				filters = append(filters, goFilter{name: fmt.Sprintf("jumble-%d", i), spec: newJumble(uint64(i) << 20)})
			}
			p := serveFilters(t, top, func(m *conf.HTTPConnectionManager) { m.StreamIdleTimeout = harness.Patience }, filters...)
			client := clientH2(t)
			if !row.h2 {
				tr := &http.Transport{}
				t.Cleanup(tr.CloseIdleConnections)
				client = &http.Client{Transport: tr, Timeout: harness.Patience}
			}
			var all sync.WaitGroup
			for k := range 4 {
				all.Go(func() {
					for i, n := range []int{0, 1, 100, 16 << 10, 70_000, 300_000} {
						size := []int{1 << 20, 1000}[(i+k)%2]
						if err := echoesBack(client, "http://"+p.Addr, n, size, k%2 == 0); err != nil {
							t.Errorf("%d bytes in pieces of %d: %v", n, size, err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

func echoesBack(client *http.Client, url string, n, size int, trailer bool) error {
	body := bench.Pattern(nil, n)
	req, err := http.NewRequest("POST", url, &dribble{bytes.NewReader(body), size})
	if err != nil {
		return err
	}
	want := ""
	if trailer {
		req.Trailer = http.Header{"X-Sum": {"there"}}
		want = "there"
	} else {
		req.ContentLength = int64(n)
		if n == 0 {
			req.Body = http.NoBody
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200 || !bytes.Equal(got, body):
		return fmt.Errorf("%d with %d bytes", resp.StatusCode, len(got))
	case resp.Header.Get("X-Trailer") != want || resp.Trailer.Get("X-Sum") != "back":
		return fmt.Errorf("trailers %q and %q", resp.Header.Get("X-Trailer"), resp.Trailer.Get("X-Sum"))
	}
	return nil
}
