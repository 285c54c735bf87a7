package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// The same conversations through TCP proxies of all kinds: each end must get the other's bytes, whole
// and in order, and its FIN after them and no sooner; and the proxy's counters are those bytes.

// atEnd stands for the other end's FIN where bytes of it are counted.
const atEnd = -1

// burst is n bytes that leave when so many of the other end's have come, or its FIN.
type burst struct{ after, n int64 }

// side is what one end does.
type side struct {
	sends []burst
	// finish says, as burst.after does, when the FIN follows.
	finish int64
}

func (s *side) total() (n int64) {
	for _, x := range s.sends {
		n += x.n
	}
	return n
}

// conversation is what both ends do on one connection.
type conversation struct {
	title          string
	client, origin side
	// held is the end that reads only when the proxy has counted a pause for it: "client", "origin".
	held string
}

// serverFirst says that the client waits for the origin, which rules out ON_DOWNSTREAM_DATA (TCP-5).
func (c *conversation) serverFirst() bool {
	if len(c.client.sends) > 0 {
		return c.client.sends[0].after != 0
	}
	return c.client.finish != 0
}

// conversations is the script. The race detector makes each byte dear, so it gets fewer.
func conversations() []conversation {
	large, held := int64(8<<20), int64(16<<20)
	if raceEnabled {
		large, held = 1<<20, 6<<20
	}
	var turns conversation
	turns.title = "questions and answers"
	asked, answered := int64(0), int64(0)
	for _, n := range []int64{1, 64, 1460, 4095, 4096, 16383, 16384, 16385, 40_000, 65_535, 65_536, 65_537, 200_001} {
		turns.client.sends = append(turns.client.sends, burst{answered, n})
		asked += n
		turns.origin.sends = append(turns.origin.sends, burst{asked, 70_000 - n/3})
		answered += 70_000 - n/3
	}
	turns.client.finish, turns.origin.finish = answered, atEnd
	out := []conversation{
		{title: "a FIN from the client, a FIN from the origin", origin: side{finish: atEnd}},
		{title: "a FIN from the origin, a FIN from the client", client: side{finish: atEnd}},
		{title: "a byte each", client: side{sends: []burst{{0, 1}}, finish: 1}, origin: side{sends: []burst{{1, 1}}, finish: atEnd}},
		{title: "an upload that is answered when it is over", client: side{sends: []burst{{0, large}}}, origin: side{[]burst{{atEnd, 100_000}}, atEnd}},
		{title: "a download that is answered when it is over", client: side{[]burst{{atEnd, 100_000}}, atEnd}, origin: side{sends: []burst{{0, large}}}},
		{title: "both ways at once", client: side{sends: []burst{{0, large}}}, origin: side{sends: []burst{{0, large}}}},
		{title: "a request and a FIN, and a long answer", client: side{sends: []burst{{0, 300}}}, origin: side{[]burst{{300, large / 2}, {atEnd, large / 2}}, atEnd}},
		turns,
		{title: "an origin that does not read", client: side{sends: []burst{{0, held}}}, origin: side{finish: atEnd}, held: "origin"},
		{title: "a client that does not read", client: side{[]burst{{0, 1}}, atEnd}, origin: side{sends: []burst{{1, held}}}, held: "client"},
	}
	for seed := range uint64(6) {
		out = append(out, randomConversation(seed, large/8))
	}
	return out
}

// randomConversation lets either end send next, after some of what the other sent before.
func randomConversation(seed uint64, most int64) conversation {
	r := rand.New(rand.NewPCG(seed, 7))
	c := conversation{title: fmt.Sprintf("random, seed %d", seed)}
	var sent [2]int64
	for range 4 + r.IntN(20) {
		who := r.IntN(2)
		n := int64(1) << r.IntN(18)
		n += r.Int64N(n)
		if r.IntN(8) == 0 {
			n = r.Int64N(most)
		}
		s := burst{r.Int64N(sent[1-who] + 1), n}
		sent[who] += n
		if who == 0 {
			c.client.sends = append(c.client.sends, s)
		} else {
			c.origin.sends = append(c.origin.sends, s)
		}
	}
	switch r.IntN(3) {
	case 0:
		c.client.finish = atEnd
	case 1:
		c.origin.finish = atEnd
	}
	return c
}

// end is one end of a conversation under way.
type end struct {
	conn interface {
		net.Conn
		CloseWrite() error
	}
	side
	base, otherBase int64 // positions in harness.Stream of its bytes, and of the other end's
	piece           int   // bytes of one write; 0 for whole sends
	ready           <-chan struct{}

	mu   sync.Mutex
	more *sync.Cond
	got  int64
	over bool // FIN or an error has come
	err  error
}

// run does what the end's side says and returns what came from the other one.
func (e *end) run() (got int64, err error) {
	e.more = sync.NewCond(&e.mu)
	_ = e.conn.SetDeadline(time.Now().Add(2 * harness.Patience))
	wrote := make(chan error, 1)
	go func() { wrote <- e.write() }()
	e.read()
	return e.got, errors.Join(e.err, <-wrote)
}

func (e *end) read() {
	<-e.ready
	want := &harness.Stream{At: e.otherBase}
	block := make([]byte, 64<<10)
	for {
		n, err := e.conn.Read(block)
		_, wrong := want.Write(block[:n])
		e.mu.Lock()
		e.got += int64(n)
		if err != nil || wrong != nil {
			e.over = true
			if e.err = wrong; wrong == nil && !errors.Is(err, io.EOF) {
				e.err = fmt.Errorf("reading: %w", err)
			}
		}
		over := e.over
		e.more.Broadcast()
		e.mu.Unlock()
		if over {
			return
		}
	}
}

// await waits until so many bytes have come, or the end.
func (e *end) await(after int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for !e.over && (after == atEnd || e.got < after) {
		e.more.Wait()
	}
	if after != atEnd && e.got < after {
		return fmt.Errorf("the end came after %d bytes, before the first %d", e.got, after)
	}
	return e.err
}

func (e *end) write() error {
	from := &harness.Stream{At: e.base}
	for _, s := range e.sends {
		if err := e.await(s.after); err != nil {
			return err
		}
		piece := int64(e.piece)
		if piece == 0 {
			piece = 256 << 10
		}
		block := make([]byte, min(piece, s.n))
		for left := s.n; left > 0; left -= piece {
			b := block[:min(piece, left)]
			_, _ = from.Read(b)
			if _, err := e.conn.Write(b); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
	}
	if err := e.await(e.finish); err != nil {
		return err
	}
	return e.conn.CloseWrite()
}

// tcpVariant is one way of being the proxy, and of writing.
type tcpVariant struct {
	title                    string
	loops                    int
	listener, cluster, proxy string
	piece, originPiece       int
	unixListener, unixOrigin bool
	reload                   bool
	// onData leaves out what would wait for ever.
	onData bool
}

// tcpRig is a proxy of a variant, with an origin whose connections the test serves itself.
type tcpRig struct {
	t        *testing.T
	v        *tcpVariant
	top      harness.TCPTopology
	p        *harness.Proxy
	network  string // of the listener
	accepted chan net.Conn
}

func newTCPRig(t *testing.T, v *tcpVariant) *tcpRig {
	t.Helper()
	network, addr := "tcp", "127.0.0.1:0"
	if v.unixOrigin {
		network, addr = "unix", filepath.Join(t.TempDir(), "origin")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &tcpRig{t: t, v: v, network: "tcp", accepted: make(chan net.Conn)}
	go func() {
		defer close(r.accepted)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.accepted <- c
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		for c := range r.accepted {
			_ = c.Close()
		}
	})
	r.top = harness.TCPTopology{Loops: v.loops, Clusters: to(harness.At(ln.Addr().String())), Listener: v.listener, Proxy: v.proxy}
	r.top.Clusters[0].Fields = v.cluster
	if v.unixListener {
		r.network = "unix"
		r.top.Address = fmt.Sprintf("{ pipe: { path: %q } }", filepath.Join(t.TempDir(), "proxy"))
	}
	r.p = harness.StartTCP(t, r.top)
	return r
}

// hold returns a channel that closes when the proxy has counted another pause of the stat.
func (r *tcpRig) hold(stat string) <-chan struct{} {
	r.t.Helper()
	before, ready := r.p.Stat(stat), make(chan struct{})
	go func() {
		defer close(ready)
		for deadline := time.Now().Add(harness.Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if r.p.Stats()[stat] > before {
				return
			}
		}
		r.t.Errorf("no pause is counted in %s", stat)
	}()
	return ready
}

// converse runs one conversation; number makes its bytes its own.
func (r *tcpRig) converse(c *conversation, number int) {
	t := r.t
	t.Helper()
	always := make(chan struct{})
	close(always)
	client := &end{side: c.client, base: int64(2*number) << 32, otherBase: int64(2*number+1) << 32, piece: r.v.piece, ready: always}
	origin := &end{side: c.origin, base: client.otherBase, otherBase: client.base, piece: r.v.originPiece, ready: always}
	switch c.held {
	case "client":
		client.ready = r.hold(onOrigin + "upstream_flow_control_paused_reading_total")
	case "origin":
		origin.ready = r.hold(inTCP + "downstream_flow_control_paused_reading_total")
	}
	conn, err := net.DialTimeout(r.network, r.p.Addr, harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client.conn = conn.(interface {
		net.Conn
		CloseWrite() error
	})
	var both sync.WaitGroup
	finished := func(name string, e *end, other *side) {
		if got, err := e.run(); err != nil || got != other.total() {
			t.Errorf("%s: the %s got %d bytes of %d: %v", c.title, name, got, other.total(), err)
			_ = e.conn.Close() // the other end must not wait
		}
	}
	both.Go(func() { finished("client", client, &c.origin) })
	both.Go(func() {
		var conn net.Conn
		select {
		case conn = <-r.accepted:
		case <-time.After(harness.Patience):
			t.Errorf("%s: no connection comes to the origin", c.title)
			_ = client.conn.Close()
			return
		}
		defer conn.Close()
		origin.conn = conn.(interface {
			net.Conn
			CloseWrite() error
		})
		finished("origin", origin, &c.client)
	})
	both.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (v *tcpVariant) run(t *testing.T) {
	r := newTCPRig(t, v)
	var lines []string
	up, down := int64(0), int64(0)
	for i, c := range conversations() {
		if v.onData && c.serverFirst() {
			continue
		}
		if v.reload {
			r.top.Proxy = fmt.Sprintf("%smax_connect_attempts: %d", v.proxy, i+1)
			r.p.ApplyTCP(r.top)
		}
		r.converse(&c, i)
		up += c.client.total()
		down += c.origin.total()
		lines = append(lines, fmt.Sprintf("TcpConnectionEnd - - %d %d origin", c.client.total(), c.origin.total()))
		r.p.WantLines(lines...)
	}
	n := int64(len(lines))
	r.p.WantStats(harness.Stats{
		inTCP + "downstream_cx_total": n, inTCP + "downstream_cx_rx_bytes_total": up, inTCP + "downstream_cx_tx_bytes_total": down,
		onOrigin + "upstream_cx_total": n, onOrigin + "upstream_cx_destroy": n, onOrigin + "upstream_cx_tx_bytes_total": up, onOrigin + "upstream_cx_rx_bytes_total": down,
		onOrigin + "upstream_cx_connect_fail": 0, inTCP + "idle_timeout": 0,
	})
	s := r.p.Stats()
	for _, scope := range []string{inTCP + "downstream", onOrigin + "upstream"} {
		paused, resumed := s[scope+"_flow_control_paused_reading_total"], s[scope+"_flow_control_resumed_reading_total"]
		if paused == 0 || paused != resumed {
			t.Errorf("%s: reading was paused %d times and resumed %d times", scope, paused, resumed)
		}
	}
}

// Directions whose limit is less than 64 KiB copy; others splice what comes in bulk, on Linux.
func TestMetamorphicTCP(t *testing.T) {
	harness.NoLeaks(t)
	limit := func(n int) string { return fmt.Sprintf("per_connection_buffer_limit_bytes: %d\n", n) }
	for _, v := range []tcpVariant{
		{title: "splice, 1 MiB", listener: limit(1 << 20), cluster: limit(1 << 20)},
		{title: "splice, 64 KiB", listener: limit(64 << 10), cluster: limit(64 << 10)},
		{title: "copy", listener: limit(64<<10 - 1), cluster: limit(64<<10 - 1)},
		{title: "copy, tiny buffers", listener: limit(1024), cluster: limit(1024)},
		{title: "tiny upwards, large downwards", listener: limit(1 << 20), cluster: limit(1024)},
		{title: "large upwards, tiny downwards", listener: limit(1024), cluster: limit(1 << 20)},
		{title: "four loops", loops: 4},
		{title: "four loops, tiny buffers", loops: 4, listener: limit(1024), cluster: limit(1024)},
		{title: "unix socket to the origin", unixOrigin: true},
		{title: "unix socket to the client, copy", unixListener: true, listener: limit(4096), cluster: limit(4096)},
		{title: "unix sockets", unixListener: true, unixOrigin: true},
		{title: "the client dribbles", piece: 997},
		{title: "the origin dribbles", originPiece: 1009},
		{title: "both dribble, tiny buffers", piece: 1461, originPiece: 1459, listener: limit(1024), cluster: limit(1024)},
		{title: "early data, none of it", proxy: early(0)},
		{title: "early data, a byte", proxy: early(1)},
		{title: "early data, much of it", proxy: early(1 << 20)},
		{title: "on data, none of it early", proxy: onData + early(0), onData: true},
		{title: "on data, much of it early", proxy: onData + early(300_000), onData: true},
		{title: "on data, much of it early, tiny buffers", proxy: onData + early(300_000), onData: true, listener: limit(1024), cluster: limit(1024)},
		{title: "reload before every connection", reload: true, loops: 2},
	} {
		t.Run(v.title, v.run)
	}
}
