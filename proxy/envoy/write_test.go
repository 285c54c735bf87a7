package envoy

import (
	"strings"
	"testing"
)

func TestWriteGivesWhatLoadAccepts(t *testing.T) {
	for name, s := range map[string]Simple{
		"port to port":              {From: ":8080", To: []string{"127.0.0.1:9000"}},
		"with access log and admin": {From: "127.0.0.1:8080", To: []string{"127.0.0.1:9000"}, AccessLog: true, Admin: "127.0.0.1:9901"},
		"IPv6":                      {From: "[::1]:0", To: []string{"[::1]:9000", "127.0.0.1:9001"}},
		"host name":                 {From: ":8080", To: []string{"origin.example:80"}},
		"unix sockets":              {From: "unix:/run/in.sock", To: []string{"unix:@origin"}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := Write(s)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Load(Source{Data: []byte(text)})
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if len(r.Warnings) != 0 {
				t.Errorf("warnings: %q", r.Warnings)
			}
			if got, want := len(r.Conf.Clusters[0].Endpoints), len(s.To); got != want {
				t.Errorf("%d endpoints, want %d", got, want)
			}
			if got := len(r.Conf.Listeners[0].FilterChains[0].HTTP.AccessLogs); (got == 1) != s.AccessLog {
				t.Errorf("%d access logs", got)
			}
			if (r.Conf.Admin != nil) != (s.Admin != "") {
				t.Errorf("admin is %v", r.Conf.Admin)
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		s    Simple
		want string
	}{
		"no origin":               {Simple{From: ":1"}, "no address to proxy to"},
		"a listener without port": {Simple{From: "8080", To: []string{"a:1"}}, "host:port"},
		"a name to listen on":     {Simple{From: "example.com:80", To: []string{"a:1"}}, "not an IP address"},
		"an origin's port 0":      {Simple{From: ":1", To: []string{"127.0.0.1:0"}}, "not a port"},
		"a port over 65535":       {Simple{From: ":1", To: []string{"127.0.0.1:65536"}}, "not a port"},
		"names and pipes mixed":   {Simple{From: ":1", To: []string{"a:1", "unix:/b"}}, "cannot be mixed"},
		"YAML in a path":          {Simple{From: "unix:/a\n- b", To: []string{"a:1"}}, "not a socket's path"},
		"one address twice":       {Simple{From: ":1", To: []string{"a:1"}, Admin: "0.0.0.0:1"}, "both"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Write(c.s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to contain %q", err, c.want)
			}
		})
	}
}
