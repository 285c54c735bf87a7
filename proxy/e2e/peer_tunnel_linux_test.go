package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// tunnelPair is two processes: the first takes TCP and tunnels it, the second ends the tunnels at an origin.
type tunnelPair struct{ first, second *process }

// startTunnel starts a pair that speaks as the transport says between the two, over TLS with an authority.
func startTunnel(t *testing.T, binary string, x *tunnelTransport, a *harness.Authority, o harness.Origin) tunnelPair {
	t.Helper()
	var socket []string
	fields := ""
	if x.h2 {
		fields = h2Cluster
	}
	if a != nil {
		socket = []string{harness.ServerSocket(a.Pair(t, "second.test"), `alpn_protocols: [h2, "http/1.1"]`, "")}
		fields += "\n" + harness.ClientSocket(a.Trust(), "sni: second.test")
	}
	end := one(o)
	end.Routes, end.Manager = x.routes, h2Connect
	second := startConfigured(t, binary, 2, func(log string) string { return end.Secured(log, socket...) })
	first := startProcess(t, binary, harness.TCPTopology{
		Loops:    2,
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.At(second.addr)}, Fields: fields}},
		Proxy:    "tunneling_config: { " + x.tunneling + " }",
	})
	return tunnelPair{first, second}
}

// over waits until every tunnel has ended, and checks that there were as many as at least n.
func (p tunnelPair) over(n int64) {
	p.first.t.Helper()
	p.first.want(harness.Stats{"listener.in.downstream_cx_active": 0, "tcp.in.upstream_flush_active": 0, onOrigin + "upstream_rq_active": 0})
	p.second.want(harness.Stats{"http.in.downstream_cx_upgrades_active": 0, onOrigin + "upstream_cx_active": 0})
	if got := p.second.stats()["http.in.downstream_cx_upgrades_total"]; got < n {
		p.first.t.Errorf("%d tunnels, want %d at least", got, n)
	}
}

// Programs that know nothing of tunnels, on both sides of two processes with one between them: a server
// that speaks first, bulk with half-close in both orders, PostgreSQL and iperf3 (UP-61).
func TestPeerTunnels(t *testing.T) {
	psql, iperf := harness.Tool(t, "psql"), harness.Tool(t, "iperf3")
	binary := buildBinary(t)
	database := startPostgres(t)
	meter := harness.StartDaemon(t, func(port string) *exec.Cmd { return exec.Command(iperf, "-s", "-B", "127.0.0.1", "-p", port) })
	authority := harness.NewAuthority(t)
	for i := range transports {
		for _, a := range []*harness.Authority{nil, authority} {
			x, name := &transports[i], transports[i].name
			if a != nil {
				name += " over TLS"
			}
			t.Run(name, func(t *testing.T) {
				t.Run("server first", func(t *testing.T) {
					p := startTunnel(t, binary, x, a, harness.NewRaw(t, mailServer))
					sendMail(t, p.first.addr)
					p.over(1)
				})
				t.Run("half-close", func(t *testing.T) {
					p := startTunnel(t, binary, x, a, harness.NewRaw(t, sumServer))
					for _, clientFirst := range []bool{true, false} {
						exchangeSums(t, p.first.addr, clientFirst)
					}
					p.over(2)
				})
				t.Run("PostgreSQL", func(t *testing.T) {
					p := startTunnel(t, binary, x, a, harness.At(database.Address()))
					copyRows(t, psql, p.first.addr)
					p.over(3)
				})
				t.Run("iperf3", func(t *testing.T) {
					p := startTunnel(t, binary, x, a, harness.At(meter.Address()))
					_, port, _ := net.SplitHostPort(p.first.addr)
					for _, direction := range [][]string{{"-R"}, {"-P", "4"}} {
						measureTunnel(t, iperf, append([]string{"-c", "127.0.0.1", "-p", port, "-t", "1", "-J"}, direction...))
					}
					p.over(2 + 5)
				})
			})
		}
	}
}

// mailServer speaks first, line by line.
func mailServer(p *harness.Peer) {
	p.Send("220 mail.test ready\r\n")
	for {
		line, err := p.In.ReadString('\n')
		switch {
		case err != nil:
			return
		case strings.HasPrefix(line, "QUIT"):
			p.Send("221 bye\r\n")
			return
		case strings.HasPrefix(line, "DATA"):
			p.Send("354 go on\r\n")
			sum := sha256.New()
			for line != ".\r\n" && err == nil {
				if line, err = p.In.ReadString('\n'); line != ".\r\n" {
					_, _ = io.WriteString(sum, line)
				}
			}
			p.Send("250 " + hex.EncodeToString(sum.Sum(nil)) + "\r\n")
		default:
			p.Send("250 " + line)
		}
	}
}

// sendMail is a session with it.
func sendMail(t *testing.T, addr string) {
	t.Helper()
	c := harness.Dial(t, addr)
	defer c.Close()
	say := func(text, want string) {
		t.Helper()
		if text != "" {
			c.Send(text)
		}
		if line := strings.TrimSuffix(c.Line(), "\r"); line != want {
			t.Fatalf("%q to %.20q, want %q", line, text, want)
		}
	}
	say("", "220 mail.test ready")
	say("EHLO client.test\r\n", "250 EHLO client.test")
	say("MAIL FROM:<a@client.test>\r\n", "250 MAIL FROM:<a@client.test>")
	say("DATA\r\n", "354 go on")
	message := strings.Repeat("a line of a message, as long as most are\r\n", 50_000)
	sum := sha256.Sum256([]byte(message))
	say(message+".\r\n", "250 "+hex.EncodeToString(sum[:]))
	say("QUIT\r\n", "221 bye")
	if err := c.WantEnd(); err != nil {
		t.Error(err)
	}
}

// What sumServer and its client send each other.
const sumBytes = 24<<20 + 12345

// sumServer takes a byte that says who ends first, and the content; it sends its sum and the content back.
// It ends its direction when the client has, or before.
func sumServer(p *harness.Peer) {
	kind, err := p.In.ReadByte()
	if err != nil {
		return
	}
	sum := sha256.New()
	if n, err := io.CopyN(sum, p.In, sumBytes); err != nil {
		p.Send(fmt.Sprintf("%d bytes, %v", n, err))
		return
	}
	if kind == 'c' {
		if _, err := p.In.ReadByte(); err != io.EOF {
			p.Send(fmt.Sprintf("no end but %v", err))
			return
		}
	}
	_, _ = p.Write(sum.Sum(nil))
	_ = harness.SendStream(p.TCPConn, sumBytes)
	_ = p.CloseWrite()
	p.Drain()
}

// exchangeSums is a session with it.
func exchangeSums(t *testing.T, addr string, clientFirst bool) {
	t.Helper()
	c := dialTCP(t, addr)
	defer c.Close()
	sum, sent := sha256.New(), make(chan error, 1)
	go func() {
		kind := "s"
		if clientFirst {
			kind = "c"
		}
		_, err := io.WriteString(c, kind)
		if err == nil {
			err = harness.SendStream(io.MultiWriter(c, sum), sumBytes)
		}
		if err == nil && clientFirst {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	in := bufio.NewReaderSize(c, 64<<10)
	got := make([]byte, sha256.Size)
	_, err := io.ReadFull(in, got)
	if failed := <-sent; failed != nil || err != nil || string(got) != string(sum.Sum(nil)) {
		t.Fatalf("sent with %v; answered with %v: %q", failed, err, got)
	}
	if n, err := harness.TakeStream(in); n != sumBytes || err != nil {
		t.Errorf("client first %v: %d bytes came back: %v", clientFirst, n, err)
	}
}

// copyRows puts rows into a table through the tunnel, takes them out and compares.
func copyRows(t *testing.T, psql, addr string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	args := func(more ...string) []string {
		return append([]string{"-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "postgres"}, more...)
	}
	harness.Eventually(t, "the server to have started", func() bool { return exec.Command(psql, args("-c", "select 1")...).Run() == nil })
	var rows strings.Builder
	for i := 0; rows.Len() < 4<<20; i++ {
		fmt.Fprintf(&rows, "%d\t%08x%s\n", i, uint32(i)*2654435761, strings.Repeat("-", i%150))
	}
	out := filepath.Join(t.TempDir(), "rows")
	harness.RunWith(t, strings.NewReader(rows.String()), psql,
		args("-c", "drop table if exists bulk", "-c", "create unlogged table bulk (id integer, text varchar)", "-c", "copy bulk from stdin")...)
	harness.Run(t, psql, args("-o", out, "-c", "copy (select * from bulk order by id) to stdout")...)
	got, err := os.ReadFile(out)
	if err != nil || string(got) != rows.String() {
		t.Errorf("%d bytes came back of %d; %v", len(got), rows.Len(), err)
	}
}

// measureTunnel is a run of iperf3. At the end of its time it closes with data under way, so that not all that
// was sent arrives.
func measureTunnel(t *testing.T, iperf string, args []string) {
	t.Helper()
	out := harness.Run(t, iperf, args...)
	var r iperfResult
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if sent, received := r.End.Sent.Bytes, r.End.Received.Bytes; received < 10<<20 || received > sent {
		t.Errorf("%v: sent %d, received %d", args, sent, received)
	}
}
