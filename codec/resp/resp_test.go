package resp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/frame/frametest"
)

// command is a request as clients write it.
func request(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func requests() *frametest.Run {
	return &frametest.Run{Decoder: Codec{}.NewRequestDecoder(), Limit: maxHead}
}

// replies reads what answers the requests given.
func replies(t testing.TB, to ...string) *frametest.Run {
	t.Helper()
	notes := notesOf(t, strings.Join(to, ""))
	return &frametest.Run{Decoder: Codec{}.NewResponseDecoder(), Limit: maxHead, Due: func(i int) (uint64, bool) {
		if i < len(notes) {
			return notes[i], true
		}
		return 0, false
	}}
}

func notesOf(t testing.TB, data string) (notes []uint64) {
	t.Helper()
	r := requests()
	if err := r.Feed([]byte(data)); err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Messages {
		if m.Flags.Has(frame.Header) {
			notes = append(notes, m.Note)
		}
	}
	return notes
}

// What a request is routed by (generic_proxy.md 6.2): the method is the command, the path its first key.
func TestRequests(t *testing.T) {
	const whole = frame.Header | frame.End
	for _, tc := range []struct {
		bytes        string
		method, path string
		flags        frame.Flags
		note         uint64
	}{
		{request("get", "k"), "GET", "k", whole, 0x100},
		{request("SET", "k", strings.Repeat("v", 100000)), "SET", "k", whole, 0x200},
		{request("PING"), "PING", "", whole, 0},
		{request("CONFIG", "GET", "save"), "CONFIG", "", whole, 0x200},
		{request("my.cmd", "k"), "MY.CMD", "k", whole, 0x100},
		{request("DEL"), "DEL", "", whole, 0},
		{request("SET", "", "v"), "SET", "", whole, 0x200},
		{request("EVAL", "return 1", "2", "a", "b"), "EVAL", "a", whole, 0x400},
		{request("EVAL", "return 1", "0"), "EVAL", "", whole, 0x200},
		{request("EVAL", "return 1"), "EVAL", "", whole, 0x100},
		{request("ZUNION", "2", "a", "b"), "ZUNION", "a", whole, 0x300},
		{request("XREAD", "COUNT", "2", "STREAMS", "s", "0"), "XREAD", "s", whole, 0x500},
		{request("XREADGROUP", "GROUP", "STREAMS", "c", "streams", "s", ">"), "XREADGROUP", "s", whole, 0x600},
		{request("BITOP", "AND", "dest", "a"), "BITOP", "dest", whole, 0x300},
		{request("SUBSCRIBE", "a", "b"), "SUBSCRIBE", "a", whole | frame.Sticky, 0x200 | noteSubscribe},
		{request("MULTI"), "MULTI", "", whole | frame.Sticky, 0},
		{request("MONITOR"), "MONITOR", "", whole | frame.Sticky, noteMonitor},
		{request("CLIENT", "SETNAME", "x"), "CLIENT", "", whole | frame.Sticky, 0x200},
		{request("CLIENT", "REPLY", "on"), "CLIENT", "", whole | frame.Sticky, 0x200},
		{request("CLIENT", "reply", "off"), "CLIENT", "", whole | frame.Sticky | frame.Refuse, 0x200},
		{request("CLIENT", "ID"), "CLIENT", "", whole | frame.Sticky, 0x100},
		{request("PSYNC", "?", "-1"), "PSYNC", "", whole | frame.Refuse, 0x200},
		{"ping\r\n", "PING", "", whole, 0},
		{"get k\n", "GET", "k", whole, 0x100},
		{"  set \"a b\" 'c'\r\n", "SET", "a b", whole, 0x200},
		{"set \"a\\\"b\" c\r\n", "SET", `a\"b`, whole, 0x200},
		{"set \"open c\r\n", "SET", "\"open c", whole, 0x100},
	} {
		for _, sizes := range [][]int{nil, {1}, {3}, {17}} {
			if d := frametest.Cuts(requests, []byte(tc.bytes), sizes); d != "" && sizes != nil {
				t.Errorf("%.40q in pieces of %d: %s", tc.bytes, sizes, d)
			}
		}
		r, err := frametest.Whole(requests, []byte(tc.bytes))
		if err != nil || len(r.Messages) != 1 {
			t.Errorf("%.40q: %v, %v", tc.bytes, r.Messages, err)
			continue
		}
		m := r.Messages[0]
		if m.Method != tc.method || m.Path != tc.path || m.Flags != tc.flags || m.Note != tc.note || m.Bytes != tc.bytes {
			t.Errorf("%.40q: %v", tc.bytes, m)
		}
	}
}

// A value that is still to come does not hold up its request.
func TestRequestHeaderGoesFirst(t *testing.T) {
	r := requests()
	all := request("SET", "k", strings.Repeat("v", 1<<20))
	if err := r.Feed([]byte(all[:40])); err != nil || len(r.Messages) != 1 || r.Messages[0].Path != "k" {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	if err := r.Feed([]byte(all[40:])); err != nil || len(r.Messages) != 1 || r.Messages[0].Bytes != all || len(r.Left()) != 0 {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	if r.Most > 64 {
		t.Errorf("%d bytes waited", r.Most)
	}
}

// What Redis ignores is dropped.
func TestRequestsDropped(t *testing.T) {
	r, err := frametest.Whole(requests, []byte("\r\n*0\r\n*-1\r\n\n"+request("PING")))
	if err != nil || len(r.Messages) != 5 {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	for _, m := range r.Messages[:4] {
		if m.Flags != 0 || m.Bytes != "" {
			t.Errorf("%v", m)
		}
	}
	if r.Messages[4].Method != "PING" {
		t.Errorf("%v", r.Messages[4])
	}
}

func TestRequestErrors(t *testing.T) {
	for _, tc := range []struct {
		bytes string
		want  error
	}{
		{"*x\r\n", errLength},
		{"*01\r\n", errLength},
		{"*-2\r\n", errLength},
		{"*9999999999999999999\r\n", errLength},
		{"*1\r\n:1\r\n", errType},
		{"*1\r\n$-1\r\n", errLength},
		{"*1\r\n$4\r\nPINGxx", errEnd},
		{"*1\r\n$536870913\r\n", errBulk},
		{"*1048577\r\n", errArgs},
		{"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nvxx", errEnd},
		{"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:1\r\n", errType},
		{"*1\n", errLength},
		{strings.Repeat("x", maxInline+1), errInline},
		{request(strings.Repeat("x", 65)), errName},
		{"*2\r\n$3\r\nGET\r\n$2000000\r\n" + strings.Repeat("k", maxHead), errHead},
		{request("GET", strings.Repeat("k", 2*maxHead)), errHead},
	} {
		r, err := frametest.Whole(requests, []byte(tc.bytes))
		if err != tc.want {
			t.Errorf("%.40q: %v, %v; want %v", tc.bytes, r.Messages, err, tc.want)
		}
		if len(tc.bytes) < 1000 {
			if d := frametest.Cuts(requests, []byte(tc.bytes), []int{1}); d != "" {
				t.Errorf("%.40q: %s", tc.bytes, d)
			}
		}
	}
}

func TestReplies(t *testing.T) {
	nested := "*2\r\n%1\r\n+a\r\n~2\r\n:1\r\n#t\r\n=7\r\ntxt:abc\r\n"
	for _, value := range []string{
		"+OK\r\n", ":1\r\n", "$5\r\nhello\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "_\r\n", "#f\r\n", ",1.5\r\n", "(12345678901234567890\r\n",
		nested, "*1\r\n*1\r\n*1\r\n*0\r\n", "%0\r\n", "|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", "*2\r\n|1\r\n+a\r\n:1\r\n:2\r\n:3\r\n", "|0\r\n+OK\r\n",
		"$" + fmt.Sprint(100000) + "\r\n" + strings.Repeat("x", 100000) + "\r\n",
	} {
		both := value + "+NEXT\r\n"
		make := func() *frametest.Run { return replies(t, request("GET", "k"), request("PING")) }
		r, err := frametest.Whole(make, []byte(both))
		if err != nil || len(r.Messages) != 2 || r.Messages[0].Bytes != value || r.Messages[0].Failed || r.Messages[0].Code != 0 {
			t.Errorf("%.40q: %v, %v", value, r.Messages, err)
		}
		if d := r.Wires([]byte(both)); d != "" {
			t.Error(d)
		}
		for _, sizes := range [][]int{{1}, {2, 3}, {7}} {
			if d := frametest.Cuts(make, []byte(both), sizes); d != "" {
				t.Errorf("%.40q: %s", value, d)
			}
		}
	}
	for _, value := range []string{"-ERR x\r\n", "!5\r\nERR y\r\n", "|1\r\n+a\r\n:1\r\n-ERR z\r\n"} {
		r, err := frametest.Whole(func() *frametest.Run { return replies(t, request("GET", "k")) }, []byte(value))
		if err != nil || len(r.Messages) != 1 || !r.Messages[0].Failed || r.Messages[0].Code != 1 {
			t.Errorf("%q: %v, %v", value, r.Messages, err)
		}
	}
}

func TestReplyErrors(t *testing.T) {
	for _, tc := range []struct {
		bytes string
		want  error
	}{
		{"x", errType},
		{"$x\r\n", errLength},
		{"$536870913\r\n", errBulk},
		{"$3\r\nabcd\r\n", errEnd},
		{"+a\nb\r\n", errEnd},
		{"+a\rb\r\n", errEnd},
		{"*4294967297\r\n", errArgs},
		{"*?\r\n", errLength},
		{strings.Repeat("*1\r\n", maxDepth+1), errDepth},
	} {
		make := func() *frametest.Run { return replies(t, request("GET", "k")) }
		if _, err := frametest.Whole(make, []byte(tc.bytes)); err != tc.want {
			t.Errorf("%.40q: %v; want %v", tc.bytes, err, tc.want)
		}
		if d := frametest.Cuts(make, []byte(tc.bytes), []int{1}); d != "" {
			t.Errorf("%.40q: %s", tc.bytes, d)
		}
	}
}

// array is a reply of bulks; an element that begins with ':' is a number.
func array(kind byte, elements ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%c%d\r\n", kind, len(elements))
	for _, e := range elements {
		if strings.HasPrefix(e, ":") {
			b.WriteString(e + "\r\n")
		} else {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(e), e)
		}
	}
	return b.String()
}

// Confirmations belong to their command, messages of channels to nobody, in RESP2 and RESP3.
func TestPubSub(t *testing.T) {
	for _, kind := range []byte{'*', '>'} {
		ask := []string{request("SUBSCRIBE", "a", "b"), request("PSUBSCRIBE", "p*"), request("PING"), request("UNSUBSCRIBE"), request("PUNSUBSCRIBE", "p*"), request("GET", "k")}
		parts := []string{
			array(kind, "subscribe", "a", ":1") + array(kind, "subscribe", "b", ":2"),
			array(kind, "message", "a", "hello"),
			array(kind, "psubscribe", "p*", ":3"),
			array(kind, "pmessage", "p*", "px", "x"),
			array('*', "pong", ""),
			array(kind, "unsubscribe", "a", ":2") + array(kind, "unsubscribe", "b", ":1"),
			array(kind, "message", "a", "late"),
			array(kind, "punsubscribe", "p*", ":0"),
			array('*', "message", "is", "a list"), // the reply of a command: nothing is subscribed
		}
		pushes := []bool{false, true, false, true, false, false, true, false, false}
		all := []byte(strings.Join(parts, ""))
		make := func() *frametest.Run { return replies(t, ask...) }
		r, err := frametest.Whole(make, all)
		if err != nil || len(r.Messages) != len(parts) {
			t.Fatalf("%c: %v, %v", kind, r.Messages, err)
		}
		for i, m := range r.Messages {
			if m.Bytes != parts[i] || m.Flags.Has(frame.Push) != pushes[i] || !m.Flags.Has(frame.End) {
				t.Errorf("%c %d: %v, want %q, push %t", kind, i, m, parts[i], pushes[i])
			}
		}
		for _, sizes := range [][]int{{1}, {5}, {64, 3}} {
			if d := frametest.Cuts(make, all, sizes); d != "" {
				t.Errorf("%c: %s", kind, d)
			}
		}
	}
}

// An unsubscription without subscriptions is confirmed once; one that fails, or is queued, answers once.
func TestPubSubOnce(t *testing.T) {
	for _, tc := range []struct{ ask, answer string }{
		{request("UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"},
		{request("SUBSCRIBE", "a", "b"), "-NOPERM\r\n"},
		{request("SUBSCRIBE", "a", "b"), "+QUEUED\r\n"},
		{request("MONITOR"), "+QUEUED\r\n"},
	} {
		r, err := frametest.Whole(func() *frametest.Run { return replies(t, tc.ask, request("PING")) }, []byte(tc.answer+"+PONG\r\n"))
		if err != nil || len(r.Messages) != 2 || r.Messages[0].Bytes != tc.answer || r.Messages[1].Flags != frame.Header|frame.End {
			t.Errorf("%q: %v, %v", tc.ask, r.Messages, err)
		}
	}
}

func TestMonitor(t *testing.T) {
	lines := []string{"+OK\r\n", "+1700000000.1 [0 127.0.0.1:1] \"get\" \"k\"\r\n", "+PONG\r\n", "+1700000000.2 [0 lua] \"x\"\r\n", "+RESET\r\n", "+12 apes\r\n"}
	r, err := frametest.Whole(func() *frametest.Run {
		return replies(t, request("MONITOR"), request("PING"), request("RESET"), request("GET", "k"))
	}, []byte(strings.Join(lines, "")))
	if err != nil || len(r.Messages) != len(lines) {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	for i, m := range r.Messages {
		if m.Flags.Has(frame.Push) != (i == 1 || i == 3) {
			t.Errorf("%d: %v", i, m)
		}
	}
}

// A reply nobody asked for is no push.
func TestUnasked(t *testing.T) {
	r, err := frametest.Whole(func() *frametest.Run { return replies(t) }, []byte("+OK\r\n>2\r\n+invalidate\r\n*0\r\n"))
	if err != nil || len(r.Messages) != 2 || r.Messages[0].Flags != frame.Header|frame.End || r.Messages[1].Flags != frame.Header|frame.End|frame.Push {
		t.Errorf("%v, %v", r.Messages, err)
	}
}

func TestAppendReply(t *testing.T) {
	b, code := Codec{}.AppendReply(nil, &frame.Frame{}, frame.NotFound, "route_not\r\nfound")
	if string(b) != "-ERR route_not  found\r\n" || code != 1 {
		t.Errorf("%q %d", b, code)
	}
}
