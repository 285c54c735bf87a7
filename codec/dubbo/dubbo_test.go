package dubbo

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/codec/frame/frametest"
)

func message(flags, status byte, id uint64, body string) string {
	b := appendHeader(nil, flags, status, id)
	binary.BigEndian.PutUint32(b[12:], uint32(len(body)))
	return string(b) + body
}

func texts(all ...string) string {
	var b []byte
	for _, s := range all {
		b = appendText(b, s)
	}
	return string(b)
}

// args are values of many kinds, in the order of the types before them.
const argTypes = "ILjava/lang/String;JD[ILjava/util/List;LPoint;[[BZ"

var args = "\x91" + texts("hi") + "\xe0" + "\x5b" + // 1, "hi", 0L, 0.0
	"\x72" + texts("[int") + "\x91\xc8\x10" + // typed list of two
	"\x57" + "\x7a\x90\x90" + "N" + "Z" + // list of a list and null
	"C" + texts("Point") + "\x92" + texts("x", "y") + "\x60\x91" + "H" + texts("k") + "T" + "Z" + // an object with a map
	"\x58\x91\x23abc" + // list of one: bytes
	"T"

func call(attached string) string {
	return texts("2.0.2", "org.Demo", "1.2", "say", argTypes) + args + attached
}

func run(response bool) func() *frametest.Run {
	return func() *frametest.Run {
		d := Codec{}.NewRequestDecoder()
		if response {
			d = Codec{}.NewResponseDecoder()
		}
		return &frametest.Run{Decoder: d, Limit: headerBytes + maxWhole}
	}
}

const whole = frame.Header | frame.End

func TestRequests(t *testing.T) {
	data := message(flagRequest|flagTwoWay|hessian2, 0, 1<<40, call("H"+texts("group", "g", "path", "p")+"Z"))
	oneWay := message(flagRequest|hessian2, 0, 2, call("N"))
	big := message(flagRequest|flagTwoWay|hessian2, 0, 3, texts("2", "s", "v", "m", "[B")+strings.Repeat("x", maxWhole))
	r, err := frametest.Whole(run(false), []byte(data+oneWay+big))
	if err != nil || len(r.Messages) != 3 {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	m := r.Messages[0]
	if m.Host != "org.Demo" || m.Path != "org.Demo" || m.Method != "say" || m.ID != 1<<40 || m.Flags != whole || m.Bytes != data {
		t.Errorf("%v", m)
	}
	if m := r.Messages[1]; m.Flags != whole|frame.OneWay {
		t.Errorf("%v", m)
	}
	if m := r.Messages[2]; m.Flags != whole || m.Method != "m" || m.Bytes != big {
		t.Errorf("%v", m)
	}
	for _, sizes := range [][]int{{1}, {7, 17}, {100}} {
		if d := frametest.Cuts(run(false), []byte(data+oneWay), sizes); d != "" {
			t.Error(d)
		}
	}
	if d := frametest.Cuts(run(false), []byte(big), []int{60000}); d != "" {
		t.Error(d)
	}
}

func TestProperties(t *testing.T) {
	head := []byte(message(flagRequest|flagTwoWay|hessian2, 0, 1, call("H"+texts("group", "g")+"T"+"F"+texts("path", "p")+"Z")))
	for name, want := range map[string]string{"version": "1.2", "group": "g", "path": "p"} {
		if v, ok := (Codec{}).Property(head, false, name); !ok || string(v) != want {
			t.Errorf("%s: %q %t", name, v, ok)
		}
	}
	if _, ok := (Codec{}).Property(head, false, "nope"); ok {
		t.Error("there is no nope")
	}
	n := 0
	(Codec{}).VisitProperties(head, false, func(_, _ []byte) bool { n++; return true })
	if n != 3 {
		t.Errorf("%d properties", n)
	}
	answer := []byte(message(hessian2, statusOK, 1, "\x94"+texts("value")+"H"+texts("took", "5")+"Z"))
	if v, ok := (Codec{}).Property(answer, true, "took"); !ok || string(v) != "5" {
		t.Errorf("%q %t", v, ok)
	}
	for _, edit := range []struct {
		name, value string
		erase       bool
		want        map[string]string
	}{
		{"group", "other", false, map[string]string{"group": "other", "path": "p"}},
		{"new", "n", false, map[string]string{"group": "g", "path": "p", "new": "n"}},
		{"group", "", true, map[string]string{"path": "p"}},
		{"nope", "", true, map[string]string{"group": "g", "path": "p"}},
	} {
		out, ok := (Codec{}).AppendEdited([]byte("before"), head, false, edit.name, []byte(edit.value), edit.erase)
		out = out[len("before"):]
		r, err := frametest.Whole(run(false), out)
		if !ok || err != nil || len(r.Messages) != 1 || r.Messages[0].Flags != whole {
			t.Fatalf("%+v: %t %v %v", edit, ok, r.Messages, err)
		}
		got := map[string]string{}
		(Codec{}).VisitProperties(out, false, func(n, v []byte) bool {
			if string(n) != "version" {
				got[string(n)] = string(v)
			}
			return true
		})
		if len(got) != len(edit.want) {
			t.Errorf("%+v: %v", edit, got)
		}
		for k, v := range edit.want {
			if got[k] != v {
				t.Errorf("%+v: %v", edit, got)
			}
		}
	}
	none := []byte(message(flagRequest|hessian2, 0, 1, call("N")))
	if out, ok := (Codec{}).AppendEdited(nil, none, false, "a", []byte("b"), false); !ok {
		t.Error("null attachments")
	} else if v, ok := (Codec{}).Property(out, false, "a"); !ok || string(v) != "b" {
		t.Errorf("%q %t", v, ok)
	}
}

func TestResponses(t *testing.T) {
	parts := []string{
		message(hessian2, statusOK, 1, "\x91"+texts("ok")), message(hessian2, statusOK, 2, "\x90"+texts("boom")),
		message(hessian2, 70, 3, texts("service error")), message(hessian2, statusOK, 4, "\x92"), message(hessian2, statusOK, 5, ""),
		message(hessian2, statusOK, 6, "\x91"+strings.Repeat("x", 2<<20)),
	}
	all := []byte(strings.Join(parts, ""))
	r, err := frametest.Whole(run(true), all)
	if err != nil || len(r.Messages) != len(parts) {
		t.Fatalf("%v, %v", r.Messages, err)
	}
	for i, m := range r.Messages {
		code := uint16(statusOK)
		if i == 2 {
			code = 70
		}
		if m.ID != uint64(i+1) || m.Code != code || m.Failed != (i == 1 || i == 2) || m.Flags != whole || m.Bytes != parts[i] {
			t.Errorf("%d: %v", i, m)
		}
	}
	if d := frametest.Cuts(run(true), all, []int{9, 40000}); d != "" {
		t.Error(d)
	}
}

// GP-23: heartbeats are answered by the codec, in both directions.
func TestGP23Heartbeats(t *testing.T) {
	beat := message(flagRequest|flagTwoWay|flagEvent|hessian2, 0, 77, "N")
	want := message(flagEvent|hessian2, statusOK, 77, "N")
	for _, response := range []bool{false, true} {
		r, err := frametest.Whole(run(response), []byte(beat+want+message(flagRequest|flagEvent|hessian2, 0, 78, texts("R"))))
		if err != nil || len(r.Messages) != 3 || r.Messages[0].Flags != frame.Answer || r.Messages[0].Reply != want || r.Messages[1].Flags != 0 || r.Messages[2].Flags != 0 {
			t.Errorf("%v, %v", r.Messages, err)
		}
		if d := frametest.Cuts(run(response), []byte(beat+beat), []int{5}); d != "" {
			t.Error(d)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		response bool
		bytes    string
		want     error
	}{
		{false, "GET / HTTP/1.1", errMagic},
		{false, message(hessian2, 0, 1, ""), errDirection},
		{true, message(flagRequest|hessian2, 0, 1, ""), errDirection},
		{false, message(flagRequest|6, 0, 1, "{}"), errSerial},
		{false, "\xda\xbb\xc2\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x01", errBody},
		{false, message(flagRequest|flagEvent, 0, 1, strings.Repeat("x", maxEvent+1)), errEvent},
		{false, message(flagRequest|hessian2, 0, 1, texts("2", "s")), errNames},
		{false, message(flagRequest|hessian2, 0, 1, "\x91\x91\x91\x91"), errNames},
	} {
		if r, err := frametest.Whole(run(tc.response), []byte(tc.bytes)); err != tc.want {
			t.Errorf("%.40q: %v, %v; want %v", tc.bytes, r.Messages, err, tc.want)
		}
	}
}

func TestReplyIsReadable(t *testing.T) {
	for s := frame.NotFound; s <= frame.Internal; s++ {
		b, code := Codec{}.AppendReply(nil, &frame.Frame{ID: 9}, s, "route_not_found")
		want := uint16(statusError)
		if s == frame.InvalidArgument {
			want = statusBadRequest
		}
		r, err := frametest.Whole(run(true), b)
		if err != nil || code != want || len(r.Messages) != 1 || r.Messages[0].Code != want || !r.Messages[0].Failed || !strings.Contains(r.Messages[0].Bytes, "reason\x0froute_not_found") {
			t.Errorf("%v: %v, %v", s, r.Messages, err)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(message(flagRequest|flagTwoWay|hessian2, 0, 1, call("H"+texts("a", "b")+"Z"))), false, byte(1), byte(2))
	f.Add([]byte(message(hessian2, statusOK, 1, "\x94"+texts("v")+"H"+texts("a", "b")+"Z")), true, byte(3), byte(9))
	f.Fuzz(func(t *testing.T, data []byte, response bool, a, b byte) {
		if d := frametest.Cuts(run(response), data, []int{1 + int(a), 1 + int(b)}); d != "" {
			t.Fatal(d)
		}
		r, err := frametest.Whole(run(response), data)
		if d := r.Wires(data); err == nil && d != "" {
			t.Fatal(d)
		}
		for _, m := range r.Messages {
			head := []byte(m.Wire)
			Codec{}.VisitProperties(head, response, func(_, _ []byte) bool { return true })
			out, ok := Codec{}.AppendEdited(nil, head, response, "name", []byte("value"), false)
			if !ok {
				continue
			}
			if v, ok := (Codec{}).Property(out, response, "name"); !ok || string(v) != "value" {
				t.Fatalf("%q %t after it was set in %q: %q", v, ok, head, out)
			}
		}
	})
}

func TestAllocMessage(t *testing.T) {
	in, out := Codec{}.NewRequestDecoder(), Codec{}.NewResponseDecoder()
	rq, rs := []byte(message(flagRequest|flagTwoWay|hessian2, 0, 1, call("H"+texts("a", "b")+"Z"))), []byte(message(hessian2, statusOK, 1, "\x92"))
	var f frame.Frame
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(1000, func() {
		f = frame.Frame{}
		n, _ := in.Next(rq, &f)
		buf, _ = Codec{}.AppendReply(buf[:0], &f, frame.NotFound, "route_not_found")
		f = frame.Frame{}
		m, _ := out.Next(rs, &f)
		if _, ok := (Codec{}).Property(rq, false, "a"); !ok || n != len(rq) || m != len(rs) {
			panic("not whole")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
