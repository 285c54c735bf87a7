package peer

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// Mode is what a proxy is configured to forward.
type Mode uint8

const (
	// HTTP is a reverse proxy for every path, with upstream keep-alive.
	HTTP Mode = iota
	// TCP forwards bytes.
	TCP
	// Table is HTTP with what a busy gateway is configured with: 200 routes, rules about header fields,
	// header mutations, retries, an access log.
	Table
	// Redis forwards Redis commands: proxies that know the protocol read each of them, others forward bytes.
	Redis
	// Hops forwards bytes to a second listener of the same process, which forwards them.
	Hops
	// TunnelH1 and TunnelH2 are Hops with a CONNECT between the two, over HTTP/1 or HTTP/2.
	TunnelH1
	TunnelH2
)

// bytes says whether a proxy without the protocol forwards m as bytes.
func (m Mode) bytes() bool { return m == TCP || m == Redis }

// Spec is one job for a proxy.
type Spec struct {
	Mode     Mode
	Listen   string // IP address and port
	Upstream string // IP address and port
	Admin    string // IP address and port, for proxies that have an administration port
	// Wire is what clients speak to an HTTP proxy; Identity is for a wire with TLS, and nil else.
	Wire     Wire
	Identity *Identity
	// Bulk asks for the settings that suit bodies of a megabyte and more, where a proxy has such.
	Bulk bool
	// AwaitData makes a TCP proxy connect upstream only when the client has sent something.
	AwaitData bool
	// MaxConns is how many downstream connections must be possible at the same time.
	MaxConns int
}

// Peer is one proxy that can be compared.
type Peer struct {
	Name string
	// Install is the command that would make a missing peer available.
	Install string

	binary  string   // looked up in PATH unless it has a slash
	version []string // arguments that print the version
	// config writes the configuration into dir and returns the arguments to start with.
	config func(dir string, s Spec) (args []string, err error)
	modes  []Mode
	env    []string
}

// Forwards reports whether p is a proxy for m at all, installed or not.
func (p *Peer) Forwards(m Mode) bool { return slices.Contains(p.modes, m) }

// Supports returns nil when p can do the job, else why not.
func (p *Peer) Supports(m Mode) error {
	if _, err := p.find(); err != nil {
		return err
	}
	if !p.Forwards(m) {
		return fmt.Errorf("%s does not do that", p.Name)
	}
	if p.Name == "nginx" && m.bytes() {
		_, err := nginxStreamModule()
		return err
	}
	return nil
}

func (p *Peer) find() (path string, err error) {
	if path, err = exec.LookPath(p.binary); err != nil {
		return "", fmt.Errorf("%s is not installed: %s", p.Name, p.Install)
	}
	return path, nil
}

// versionNumber is a number that stands by itself; the "go1.26" of a build line is not one.
var versionNumber = regexp.MustCompile(`(?:^|[\s/])v?(\d+\.\d+[^\s,]*)`)

// Version returns the version number the binary reports, or the first line it prints when there is no
// number in it; "" when the binary is missing.
func (p *Peer) Version() string {
	path, err := p.find()
	if err != nil || p.version == nil {
		return ""
	}
	out, _ := exec.Command(path, p.version...).CombinedOutput() // #nosec: fixed arguments
	return versionIn(string(out))
}

func versionIn(out string) string {
	if m := versionNumber.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return line[:min(len(line), 60)]
}

// Nginx returns the nginx peer.
func Nginx() *Peer {
	return &Peer{
		Name: "nginx", Install: "apt-get install nginx", binary: "nginx", version: []string{"-v"},
		config: nginxConfig, modes: []Mode{HTTP, TCP, Redis},
	}
}

// HAProxy returns the haproxy peer.
func HAProxy() *Peer {
	return &Peer{
		Name: "haproxy", Install: "apt-get install haproxy", binary: "haproxy", version: []string{"-v"},
		config: haproxyConfig, modes: []Mode{HTTP, TCP, Redis},
	}
}

// H2O returns the h2o peer.
func H2O() *Peer {
	return &Peer{
		Name: "h2o", Install: "apt-get install h2o", binary: "h2o", version: []string{"--version"},
		config: h2oConfig, modes: []Mode{HTTP},
	}
}

// ReverseProxy returns net/http/httputil.ReverseProxy as a peer. command starts a process that calls
// ServeReverseProxy with four arguments appended to it; the files are empty for a wire without TLS.
func ReverseProxy(command ...string) *Peer {
	return &Peer{
		Name: "net/http", Install: "it is part of this program", binary: command[0],
		config: func(_ string, s Spec) ([]string, error) {
			return append(command[1:len(command):len(command)], s.Listen, s.Upstream, s.Identity.cert(), s.Identity.key()), nil
		},
		modes: []Mode{HTTP},
		env:   []string{"GOMAXPROCS=1"},
	}
}

// Sluice returns the proxy this project is about, as the binary at path.
func Sluice(path string) *Peer {
	return &Peer{
		Name: "sluice", Install: "make build", binary: path, version: []string{"--version"},
		config: sluiceConfig, modes: []Mode{HTTP, TCP, Table, Redis, TunnelH1, TunnelH2},
	}
}

// Plain is the Name of SluicePlain.
const Plain = "sluice-plain"

// SluicePlain returns the same proxy without what a mode's title names: with one route in Table mode, and
// Hops where there are tunnels. It is there to be compared with Sluice.
func SluicePlain(path string) *Peer {
	p := Sluice(path)
	p.Name, p.modes = Plain, []Mode{Table, TunnelH1, TunnelH2}
	p.config = func(dir string, s Spec) ([]string, error) {
		if s.Mode == Table {
			s.Mode = HTTP
		} else {
			s.Mode = Hops
		}
		return sluiceConfig(dir, s)
	}
	return p
}

// nginxStreamModule returns the path of nginx's TCP module, which distributions ship apart.
func nginxStreamModule() (string, error) {
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules"} {
		path := dir + "/ngx_stream_module.so"
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("nginx has no stream module: apt-get install libnginx-mod-stream")
}
