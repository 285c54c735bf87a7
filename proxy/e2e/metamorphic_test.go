package e2e

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// step is a request of the script and whether its response has a body.
type step struct {
	text     string
	bodiless bool
}

// chunks frames a body in chunks of the sizes, in turn.
func chunks(body string, sizes ...int) string {
	var b strings.Builder
	for i := 0; body != ""; i++ {
		n := min(sizes[i%len(sizes)], len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// metamorphicScript is one of everything an HTTP/1 connection can carry.
func metamorphicScript() []step {
	var out []step
	add := func(method, target, fields, body string) {
		out = append(out, step{method + " " + target + " HTTP/1.1\r\nHost: meta.test\r\n" + fields + "\r\n" + body, method == "HEAD"})
	}
	for _, n := range []int{0, 1, 2047, 2048, 2049, 16384, 32768, 40000, 65536, 65537, 200_001} {
		body := string(bench.Pattern(nil, n))
		add("GET", fmt.Sprintf("/length/%d", n), "X-A: 1\r\nX-A: 2\r\n", "")
		add("GET", fmt.Sprintf("/chunked/%d?x=y", n), "Cookie: a=b\r\n", "")
		add("HEAD", fmt.Sprintf("/length/%d", n), "", "")
		add("POST", fmt.Sprintf("/length/%d", n/2), fmt.Sprintf("Content-Length: %d\r\n", n), body)
		add("PUT", fmt.Sprintf("/chunked/%d", n/3), "Transfer-Encoding: chunked\r\n", chunks(body, 1, 17, 5000))
	}
	add("GET", "/close/50000", "", "")
	add("GET", "/early", "", "")
	add("GET", "/own", "", "")
	add("GET", "/moved?q", "", "")
	add("GET", "/204", "", "")
	add("GET", "/304", "", "")
	add("DELETE", "/length/3", "Connection: x-hop\r\nX-Hop: 1\r\n", "")
	return out
}

// metamorphicAnswer is the origin: the path says what.
func metamorphicAnswer(m *harness.Message) string {
	var kind string
	var n int
	path, _, _ := strings.Cut(m.Path(), "?")
	_, _ = fmt.Sscanf(strings.ReplaceAll(path, "/", " "), "%s %d", &kind, &n)
	body := string(bench.Pattern(nil, n))
	switch kind {
	case "length":
		if strings.HasPrefix(m.Start, "HEAD") {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
		}
		return harness.Reply(body, fmt.Sprintf("X-Got: %d %08x", len(m.Body), crc32.ChecksumIEEE(m.Body)))
	case "chunked":
		return "HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nX-B: 1\r\nX-B: 2\r\n\r\n" + chunks(body, 3, 4096, 9000)
	case "close":
		return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body
	case "early":
		return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + harness.Reply("after")
	case "204":
		return "HTTP/1.1 204 No Content\r\n\r\n"
	}
	return "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"
}

// variant is one way of running the script.
type variant struct {
	title    string
	loops    int
	listener string
	cluster  string
	// piece and originPiece are how many bytes leave in one write; 0 whole messages.
	piece, originPiece int
	// pipelined sends everything ahead.
	pipelined bool
	// reloads applies a changed snapshot this often during the script.
	reloads int
}

// transcript prints what is the same in every run.
func transcript(m *harness.Message) string {
	return fmt.Sprintf("%s%d bytes %08x, %s\n", m.Head("date", "x-envoy-upstream-service-time", "x-request-id", "x-forwarded-for"),
		len(m.Body), crc32.ChecksumIEEE(m.Body), m.Framing)
}

func (v *variant) run(t *testing.T) (client, server string) {
	o := harness.NewRecorder(t, metamorphicAnswer)
	o.Dribble(v.originPiece)
	top := one(o)
	top.Loops = max(1, v.loops)
	top.Listener = v.listener
	top.Clusters[0].Fields = v.cluster
	top.Routes = `
- { match: { path: /own }, direct_response: { status: 200, body: { inline_string: mine } } }
- { match: { path: /moved }, redirect: { path_redirect: /there } }
- { match: { prefix: / }, route: { cluster: origin }, request_headers_to_add: [{ header: { key: x-added, value: "%REQ(:METHOD)%" } }] }
`
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	script := metamorphicScript()
	failed := make(chan error, 1)
	if v.pipelined {
		var all strings.Builder
		for _, s := range script {
			all.WriteString(s.text)
		}
		go func() { failed <- harness.WritePieces(w.Conn, all.String(), v.piece) }()
	}
	var got strings.Builder
	for i, s := range script {
		if v.reloads > 0 && i%v.reloads == 0 {
			next := top
			next.VirtualHost = fmt.Sprintf("request_headers_to_remove: [x-never-%d]", i)
			p.Apply(next)
		}
		if !v.pipelined {
			go func() { failed <- harness.WritePieces(w.Conn, s.text, v.piece) }()
		}
		for final := false; !final; {
			m, err := w.TryRead(s.bodiless)
			if err != nil {
				t.Fatalf("step %d, %.60q: %v", i, s.text, err)
			}
			got.WriteString(transcript(m))
			final = m.Status() >= 200
		}
		if !v.pipelined {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
	}
	if v.pipelined {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	var seen strings.Builder
	for _, m := range o.Seen() {
		seen.WriteString(strings.ReplaceAll(transcript(m), o.Address(), "ORIGIN"))
	}
	return got.String(), seen.String()
}

// One script, run in many ways, must look the same to both ends.
func TestMetamorphic(t *testing.T) {
	harness.NoLeaks(t)
	base := variant{title: "base"}
	client, server := base.run(t)
	if n := strings.Count(server, "host: meta.test\n"); n != len(metamorphicScript())-2 {
		t.Fatalf("the origin saw %d requests", n)
	}
	const tiny, large = "per_connection_buffer_limit_bytes: 1024", "per_connection_buffer_limit_bytes: 67108864"
	for _, v := range []variant{
		{title: "four loops", loops: 4},
		{title: "tiny buffers", listener: tiny, cluster: tiny},
		{title: "large buffers", listener: large, cluster: large},
		{title: "the client dribbles", piece: 13},
		{title: "the origin dribbles", originPiece: 29},
		{title: "both dribble with tiny buffers", piece: 997, originPiece: 1009, listener: tiny, cluster: tiny},
		{title: "everything ahead", pipelined: true},
		{title: "everything ahead in pieces", pipelined: true, piece: 1461},
		{title: "everything ahead, tiny buffers, four loops", pipelined: true, listener: tiny, cluster: tiny, loops: 4},
		{title: "reload at every step", reloads: 1},
		{title: "reload with everything ahead and a dribbling origin", reloads: 3, pipelined: true, originPiece: 2011, loops: 2},
	} {
		t.Run(v.title, func(t *testing.T) {
			gotClient, gotServer := v.run(t)
			diff(t, "the client", client, gotClient)
			diff(t, "the origin", server, gotServer)
		})
	}
}

// diff reports the first line that differs.
func diff(t *testing.T, who, want, got string) {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("%s saw in line %d %q, before it was %q; after %q", who, i, b[i], a[i], b[max(0, i-6):i])
			return
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s saw %d lines, before it was %d", who, len(b), len(a))
	}
}
