package e2e

import (
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// One of everything in memcached's text protocol, all of it sent ahead and step by step.
func TestPeerMemcached(t *testing.T) {
	path := harness.Tool(t, "memcached")
	harness.NoLeaks(t)
	server := harness.StartDaemon(t, func(port string) *exec.Cmd {
		return exec.Command(path, "-u", "nobody", "-l", "127.0.0.1", "-p", port, "-U", "0", "-m", "64")
	})
	big := strings.Repeat("0123456789abcdef", 1000*1000/16)
	steps := []struct{ send, want string }{
		{"flush_all\r\n", "OK\r\n"},
		{"set a 7 0 5\r\nhello\r\n", "STORED\r\n"},
		{"get a\r\n", "VALUE a 7 5\r\nhello\r\nEND\r\n"},
		{"append a 0 0 6\r\n there\r\n", "STORED\r\n"},
		{"get a missing a\r\n", "VALUE a 7 11\r\nhello there\r\nVALUE a 7 11\r\nhello there\r\nEND\r\n"},
		{"add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"},
		{"set n 0 0 2\r\n41\r\nincr n 1\r\n", "STORED\r\n42\r\n"},
		{"set quiet 0 0 3 noreply\r\nabc\r\nget quiet\r\n", "VALUE quiet 0 3\r\nabc\r\nEND\r\n"},
		{"set big 0 0 1000000\r\n" + big + "\r\n", "STORED\r\n"},
		{"get big\r\n", "VALUE big 0 1000000\r\n" + big + "\r\nEND\r\n"},
		{"touch a 100\r\ndelete a\r\nget a\r\n", "TOUCHED\r\nDELETED\r\nEND\r\n"},
		{"nonsense\r\n", "ERROR\r\n"},
		{"mg quiet v\r\n", "VA 3\r\nabc\r\n"},
	}
	var ahead, want strings.Builder
	for _, s := range steps {
		ahead.WriteString(s.send)
		want.WriteString(s.want)
	}
	for name, top := range map[string]harness.TCPTopology{
		"plain":                      {},
		"tiny buffers":               {Listener: "per_connection_buffer_limit_bytes: 1024"},
		"on data, a little of early": {Proxy: onData + early(10)},
	} {
		t.Run(name, func(t *testing.T) {
			top.Clusters = to(harness.At(server.Address()))
			p := harness.StartTCP(t, top)
			c := p.Dial()
			for _, s := range steps {
				c.Send(s.send).WantText(s.want)
			}
			sent := make(chan error, 1)
			go func() { sent <- harness.WritePieces(c.Conn, ahead.String(), 0) }()
			c.WantText(want.String())
			if err := <-sent; err != nil {
				t.Error(err)
			}
			c.Send("quit\r\n")
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			p.WantStats(harness.Stats{
				inTCP + "downstream_cx_rx_bytes_total": int64(2*ahead.Len() + len("quit\r\n")),
				inTCP + "downstream_cx_tx_bytes_total": int64(2 * want.Len()),
			})
		})
	}
}

// mailbox is a server that speaks first, as SMTP's do, and keeps the mail it gets.
type mailbox struct {
	mu   sync.Mutex
	mail []string
}

func (m *mailbox) serve(p *harness.Peer) {
	p.Send("220 mail.test ESMTP\r\n")
	var mail strings.Builder
	for {
		line, err := p.In.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch verb {
		case "EHLO":
			p.Send("250-mail.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case "DATA":
			p.Send("354 go on\r\n")
			mail.Reset()
			for {
				line, err := p.In.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				mail.WriteString(strings.TrimPrefix(line, "."))
			}
			m.mu.Lock()
			m.mail = append(m.mail, mail.String())
			m.mu.Unlock()
			p.Send("250 kept\r\n")
		case "QUIT":
			p.Send("221 bye\r\n")
			return
		default:
			p.Send("250 ok\r\n")
		}
	}
}

func (m *mailbox) want(t *testing.T, mail string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mail) != 1 || m.mail[0] != mail {
		t.Errorf("the server has %d mails; want one of %d bytes", len(m.mail), len(mail))
	}
	m.mail = nil
}

// A server that greets before the client has said anything (TCP-3, IMMEDIATE).
func TestPeerSMTP(t *testing.T) {
	harness.NoLeaks(t)
	mail := "Subject: test\r\n\r\n" + strings.Repeat("The quick brown fox.\r\n.dots\r\n", 20_000)
	for name, proxy := range map[string]string{"nothing early": "", "early data": early(100)} {
		m := new(mailbox)
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(harness.NewRaw(t, m.serve)), Proxy: proxy})
		t.Run("net/smtp, "+name, func(t *testing.T) {
			if err := smtp.SendMail(p.Addr, nil, "a@test", []string{"b@test", "c@test"}, []byte(mail)); err != nil {
				t.Fatal(err)
			}
			m.want(t, mail)
		})
		t.Run("curl, "+name, func(t *testing.T) {
			curl, file := harness.Tool(t, "curl"), filepath.Join(t.TempDir(), "mail")
			if err := os.WriteFile(file, []byte(mail), 0o600); err != nil {
				t.Fatal(err)
			}
			harness.Run(t, curl, "-sS", "--max-time", "30", "smtp://"+p.Addr+"/client.test", "--mail-from", "a@test", "--mail-rcpt", "b@test", "-T", file)
			m.want(t, mail)
		})
		p.WantStats(harness.Stats{inTCP + "early_data_received_count_total": 0})
	}
}
