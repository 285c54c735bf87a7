package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// sshServer is an sshd with keys and configuration of its own that lets the test's user in.
type sshServer struct {
	*harness.Daemon
	// options are what a client of it needs, but for the port.
	options []string
	user    string
}

func startSSH(t *testing.T) *sshServer {
	t.Helper()
	sshd, keygen := harness.Tool(t, "sshd"), harness.Tool(t, "ssh-keygen")
	harness.Tool(t, "ssh")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "client"} {
		harness.Run(t, keygen, "-q", "-t", "ed25519", "-N", "", "-f", at(key))
	}
	host, err := os.ReadFile(at("host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"+
		"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nClientAliveInterval 1\nMaxStartups 100\nPrintMotd no\nSubsystem sftp internal-sftp\n", at("host"), at("client.pub"))
	for name, text := range map[string]string{"sshd_config": config, "known_hosts": "peer " + string(host)} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// As root, sshd wants an empty directory that Debian makes when it starts the service.
	if separation := "/run/sshd"; os.Getuid() == 0 && os.Mkdir(separation, 0o755) == nil {
		t.Cleanup(func() { _ = os.Remove(separation) })
	}
	d := harness.StartDaemon(t, func(port string) *exec.Cmd {
		return exec.Command(sshd, "-D", "-e", "-f", at("sshd_config"), "-o", "ListenAddress=127.0.0.1:"+port)
	})
	return &sshServer{d, []string{
		"-F", "none", "-q", "-i", at("client"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "HostKeyAlias=peer",
		"-o", "UserKnownHostsFile=" + at("known_hosts"), "-o", "StrictHostKeyChecking=yes", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=10",
	}, me.Username}
}

// to makes the arguments of ssh, or of sftp and scp, for a connection by way of addr. more are further
// options, then the command.
func (s *sshServer) to(addr string, more ...string) []string {
	_, port, _ := net.SplitHostPort(addr)
	return append(append(append([]string{}, s.options...), "-o", "Port="+port), more...)
}

func TestPeerSSH(t *testing.T) {
	harness.NoLeaks(t)
	server := startSSH(t)
	there := server.user + "@127.0.0.1"
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(server)})
	ssh := harness.Tool(t, "ssh")

	t.Run("a command", func(t *testing.T) {
		got := harness.RunWith(t, strings.NewReader("over there"), ssh, server.to(p.Addr, there, "cat; echo; echo done; exit 0")...)
		if got != "over there\ndone\n" {
			t.Errorf("got %q", got)
		}
	})
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	content := bench.Pattern(nil, 50_000_003)
	if err := os.WriteFile(at("file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	same := func(t *testing.T, name string) {
		t.Helper()
		got, err := os.ReadFile(at(name))
		if err != nil || string(got) != string(content) {
			t.Errorf("%d bytes arrived of %d; %v", len(got), len(content), err)
		}
	}
	t.Run("scp of 50 MB there", func(t *testing.T) {
		harness.Run(t, harness.Tool(t, "scp"), server.to(p.Addr, at("file"), there+":"+at("up"))...)
		same(t, "up")
	})
	t.Run("sftp of 50 MB back", func(t *testing.T) {
		harness.RunWith(t, strings.NewReader("get "+at("up")+" "+at("down")+"\n"), harness.Tool(t, "sftp"), server.to(p.Addr, "-b", "-", there)...)
		same(t, "down")
	})
}

// A session that lives on keepalives goes on while the proxy's configuration changes under it, even
// when its cluster goes away.
func TestPeerSSHAcrossReloads(t *testing.T) {
	harness.NoLeaks(t)
	server := startSSH(t)
	// Keepalives, one a second each way, are all that keeps it from being idle.
	topology := func(c harness.Cluster, proxy string) harness.TCPTopology {
		return harness.TCPTopology{Loops: 2, Clusters: []harness.Cluster{c}, Proxy: proxy}
	}
	old := harness.Cluster{Name: "old", Origins: []harness.Origin{server}}
	p := harness.StartTCP(t, topology(old, "idle_timeout: 2.5s"))
	session := harness.StartSession(t, harness.Tool(t, "ssh"), server.to(p.Addr, server.user+"@127.0.0.1", "cat")...)
	said := 0
	say := func() {
		t.Helper()
		said++
		line := fmt.Sprintf("line %d", said)
		session.Send(line + "\n").AwaitLine(line)
	}
	alive := func() { // until a keepalive and its answer have passed
		t.Helper()
		before := p.Stat(inTCP + "downstream_cx_rx_bytes_total")
		harness.Eventually(t, "a keepalive", func() bool { return p.Stat(inTCP+"downstream_cx_rx_bytes_total") > before })
	}
	say()
	alive()
	p.ApplyTCP(topology(old, "idle_timeout: 300s\nmax_connect_attempts: 3"))
	say()
	p.ApplyTCP(topology(harness.Cluster{Name: "old", Origins: []harness.Origin{harness.NewRaw(t, harness.Named("moved"))}}, ""))
	say()
	p.ApplyTCP(topology(harness.Cluster{Name: "new", Origins: []harness.Origin{harness.NewRaw(t, harness.Named("new"))}}, ""))
	if got := p.Dial().Line(); got != "new" {
		t.Errorf("a new connection went to %s", got)
	}
	say()
	for range 3 {
		alive()
	}
	say()
	if rest, err := session.End(); err != nil {
		t.Errorf("%v after %q", err, rest)
	}
	harness.Eventually(t, "the session's line in the log", func() bool {
		for _, line := range p.Lines() {
			if strings.HasPrefix(line, "TcpConnectionEnd - - ") && strings.HasSuffix(line, " old") {
				return true
			}
		}
		return false
	})
	p.WantStats(harness.Stats{inTCP + "idle_timeout": 0})
}
