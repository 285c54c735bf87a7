package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// dubboMessage is a Dubbo frame with a Hessian2 body.
func dubboMessage(flags, status byte, id uint64, body string) string {
	b := append(binary.BigEndian.AppendUint64([]byte{0xda, 0xbb, flags | 2, status}, id), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	return string(b) + body
}

// hessian is strings as Hessian2 writes short ones.
func hessian(all ...string) string {
	var b strings.Builder
	for _, s := range all {
		b.WriteByte(byte(len(s)))
		b.WriteString(s)
	}
	return b.String()
}

func dubboCall(service, version, method, argument, attachments string) string {
	return hessian("2.0.2", service, version, method, "Ljava/lang/String;", argument) + "H" + attachments + "Z"
}

// readDubbo reads a frame.
func readDubbo(in io.Reader) (flags, status byte, id uint64, body string, err error) {
	h := make([]byte, 16)
	if _, err = io.ReadFull(in, h); err != nil {
		return
	}
	b := make([]byte, binary.BigEndian.Uint32(h[12:]))
	_, err = io.ReadFull(in, b)
	return h[2], h[3], binary.BigEndian.Uint64(h[4:]), string(b), err
}

// dubboProvider answers two calls in the reverse order when they come together, and beats its heart.
func dubboProvider(name string) func(*harness.Peer) {
	return func(p *harness.Peer) {
		p.Send(dubboMessage(0xe0, 0, 999, "N"))
		for {
			flags, _, id, body, err := readDubbo(p.In)
			switch {
			case err != nil:
				return
			case flags&0x20 != 0:
				if id != 999 || flags&0x80 != 0 || body != "N" {
					p.Send("no answer to a heartbeat")
				}
			case flags&0x40 == 0: // one way
			case strings.Contains(body, "boom"):
				p.Send(dubboMessage(0, 20, id, "\x90"+hessian("exception")))
			default:
				p.Send(dubboMessage(0, 20, id, "\x91"+hessian(name)))
			}
		}
	}
}

// A Dubbo consumer and providers: routes by service, version and attachments; heartbeats both ways.
func TestGenericDubbo(t *testing.T) {
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		match := func(property, value, to string) string {
			return "{ predicate: { single_predicate: { " + harness.GenericInput("Property", "property_name: "+property) + ", value_match: { exact: \"" + value + "\" } } }, on_match: { " + harness.GenericAction("cluster: "+to) + " } }"
		}
		top := harness.GenericTopology{
			Codec: "dubbo", Bind: bind, LogFormat: "%METHOD% %PATH% %HOST% %REQUEST_PROPERTY(version)% %REQUEST_PROPERTY(group)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%",
			Clusters:    []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.NewRaw(t, dubboProvider("one"))}}, {Name: "other", Origins: []harness.Origin{harness.NewRaw(t, dubboProvider("two"))}}},
			RouteConfig: "virtual_hosts: [{ name: a, hosts: [org.Demo], routes: { matcher_list: { matchers: [" + match("group", "blue", "other") + "] }, on_no_match: { " + harness.GenericAction("cluster: origin") + " } } }]",
		}
		p := harness.StartGeneric(t, top)
		c := p.Dial()
		ask := func(id uint64, body string) (byte, string) {
			t.Helper()
			c.Send(dubboMessage(0xc0, 0, id, body))
			_, status, got, answer, err := readDubbo(c.Reader())
			if err != nil || got != id {
				t.Fatalf("id %d, %v", got, err)
			}
			return status, answer
		}
		if status, answer := ask(1, dubboCall("org.Demo", "1.0", "say", "hi", "")); status != 20 || answer != "\x91"+hessian("one") {
			t.Errorf("%d %q", status, answer)
		}
		want := "two"
		if bind {
			want = "one" // GP-12
		}
		if status, answer := ask(2, dubboCall("org.Demo", "1.0", "say", "hi", hessian("group", "blue"))); status != 20 || answer != "\x91"+hessian(want) {
			t.Errorf("%d %q", status, answer)
		}
		if _, answer := ask(3, dubboCall("org.Demo", "1.0", "say", "boom", "")); !strings.HasPrefix(answer, "\x90") {
			t.Errorf("%q", answer)
		}
		if status, answer := ask(4, dubboCall("org.Nope", "1.0", "say", "hi", "")); status != 80 || !strings.Contains(answer, "reason\x0froute_not_found") {
			t.Errorf("%d %q", status, answer)
		}
		c.Send(dubboMessage(0xe0, 0, 5, "N")) // GP-23
		if flags, status, id, _, err := readDubbo(c.Reader()); flags != 0x22 || status != 20 || id != 5 || err != nil {
			t.Errorf("%#x %d %d %v", flags, status, id, err)
		}
		c.Send(dubboMessage(0x80, 0, 6, dubboCall("org.Demo", "1.0", "note", "hi", "")))
		harness.Eventually(t, "the one-way call", func() bool {
			return p.Stat(inGeneric+"downstream_rq_total") == 5 && p.Stat(inGeneric+"downstream_rq_active") == 0
		})
		c.Close()
		to := map[bool]string{true: "origin", false: "other"}[bind]
		p.WantLines(
			"say org.Demo org.Demo 1.0 - 20 via_upstream origin", "say org.Demo org.Demo 1.0 blue 20 via_upstream "+to, "say org.Demo org.Demo 1.0 - 20 via_upstream origin",
			"say org.Nope org.Nope 1.0 - 80 route_not_found -", "note org.Demo org.Demo 1.0 - 0 one_way origin")
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_code.20": 3, inGeneric + "downstream_rq_error": 2, inGeneric + "downstream_rq_local": 1})
	}
}

// HTTP/1 through its codec, against net/http's client.
func TestGenericHTTP1(t *testing.T) {
	harness.NoLeaks(t)
	for _, fields := range []string{"", "single_frame_mode: false"} {
		for _, bind := range []bool{true, false} {
			o := harness.NewRaw(t, func(p *harness.Peer) {
				for {
					r, err := http.ReadRequest(p.In)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(r.Body)
					if r.URL.Path == "/until-close" {
						p.Send("HTTP/1.1 200 OK\r\n\r\nto the end")
						return
					}
					p.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Seen: %s %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", r.Method, r.Header.Get("X-Ask"), len(body)+1, string(body)+"!"))
				}
			})
			p := harness.StartGeneric(t, harness.GenericTopology{
				Codec: "http1", CodecFields: fields, Bind: bind, Clusters: to(o), NotSettled: true,
				LogFormat: "%METHOD% %PATH% %HOST% %REQUEST_PROPERTY(x-ask)% %RESPONSE_PROPERTY(x-seen)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%",
			})
			tr := &http.Transport{}
			client := &http.Client{Transport: tr, Timeout: harness.Patience}
			for _, body := range []string{"", "hello", strings.Repeat("x", 200<<10)} {
				r, _ := http.NewRequest("POST", "http://"+p.Addr+"/path", struct{ io.Reader }{strings.NewReader(body)}) // chunked
				r.Host = "test"
				r.Header.Set("X-Ask", "please")
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(got) != body+"!" || resp.Header.Get("X-Seen") != "POST please" {
					t.Fatalf("%d bytes of %d, %v, %v", len(got), len(body)+1, resp.Header, err)
				}
			}
			resp, err := client.Get("http://" + p.Addr + "/until-close")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(got) != "to the end" {
				t.Errorf("%q, %v", got, err)
			}
			o.Stop()
			c := p.Dial().Send("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if got, err := c.Rest(); !strings.HasPrefix(got, "HTTP/1.1 503 Service Unavailable\r\nreason: connection_failure\r\n") {
				t.Errorf("%q, %v", got, err)
			}
			c.Close()
			tr.CloseIdleConnections()
			if got := p.AwaitLines(5); got[1] != "POST /path test please POST please 200 via_upstream" || got[3] != "GET /until-close "+p.Addr+" - - 200 via_upstream" {
				t.Errorf("%q", got)
			}
		}
	}
}
