package format

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func jsonObject(pairs ...any) *conf.JSONObject {
	o := new(conf.JSONObject)
	for i := 0; i < len(pairs); i += 2 {
		o.Keys, o.Values = append(o.Keys, pairs[i].(string)), append(o.Values, pairs[i+1])
	}
	return o
}

func TestJSON(t *testing.T) {
	o := jsonObject(
		"z", "%RESPONSE_CODE%",
		"a", "%PROTOCOL%",
		"mixed", `"%REQ(:METHOD)%" %REQ(X-NONE)%`,
		"unset", "%REQ(X-NONE)%",
		"port", "%UPSTREAM_REMOTE_PORT%",
		"text", "pla\"in",
		"nested", jsonObject("d", "%DURATION%", "none", "%UPSTREAM_CLUSTER%"),
		"list", []any{"%BYTES_SENT%", 1.5, true, nil, "%ROUTE_NAME%", []any{}},
		"state", "%FILTER_STATE(cluster):4%", "plain", "%FILTER_STATE(cluster:PLAIN):4%", "mix", "<%FILTER_STATE(cluster)%>", "meta", "%DYNAMIC_METADATA(ns):4%",
		"number", 3.0, "bool", false, "null", nil, "percent", "1%%", "k\n", "v",
	)
	for _, row := range []struct {
		title string
		omit  bool
		i     *streaminfo.Info
		want  string
	}{
		{
			"every fact", false, fullInfo(),
			`{"z":200,"a":"HTTP/1.1","mixed":"\"POST\" -","unset":null,"port":9000,"text":"pla\"in","nested":{"d":62,"none":"alt"},"list":[2,1.5,true,null,"r1",[]],"state":"blue \"1\"","plain":"blue","mix":"<\"blue \\\"1\\\"\">","meta":{"one":"1\n","two":"zwei"},"number":3,"bool":false,"null":null,"percent":"1%","k\n":"v"}`,
		},
		{
			"OP-20: nothing known is null", false, &streaminfo.Info{},
			`{"z":0,"a":null,"mixed":"\"-\" -","unset":null,"port":null,"text":"pla\"in","nested":{"d":null,"none":null},"list":[0,1.5,true,null,null,[]],"state":null,"plain":null,"mix":"<->","meta":null,"number":3,"bool":false,"null":null,"percent":"1%","k\n":"v"}`,
		},
		{
			"omit_empty_values leaves it out", true, &streaminfo.Info{},
			`{"z":0,"mixed":"\"\" ","text":"pla\"in","nested":{},"list":[0,1.5,true,[]],"mix":"<>","number":3,"bool":false,"percent":"1%","k\n":"v"}`,
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			f, err := CompileJSON(o, row.omit)
			if err != nil {
				t.Fatal(err)
			}
			got := string(f.Append([]byte("before "), row.i))
			if got != "before "+row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
			if !json.Valid([]byte(row.want)) {
				t.Error("the expectation is not JSON")
			}
			if !f.NeedsRequest() || f.NeedsResponse() {
				t.Errorf("request %v, response %v", f.NeedsRequest(), f.NeedsResponse())
			}
		})
	}
}

func TestJSONErrorsNameTheMember(t *testing.T) {
	for _, row := range []struct {
		o    *conf.JSONObject
		want string
	}{
		{jsonObject("a", jsonObject("b", []any{"x", "%NOPE%"})), "a.b[1]: offset 0: %NOPE%: unknown operator"},
		{jsonObject("a", 7), "a: a json_format cannot hold a int"},
	} {
		if _, err := CompileJSON(row.o, false); err == nil || err.Error() != row.want {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}

// Whatever bytes a client sends, the line is one line of valid JSON that reads back as what was
// sent, bytes that are not UTF-8 replaced.
func TestJSONStringsSurvive(t *testing.T) {
	f, err := CompileJSON(jsonObject("typed", "%LOCAL_REPLY_BODY%", "mixed", "<%LOCAL_REPLY_BODY%>"), false)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "raw")
		got := f.Append(make([]byte, 0, rapid.IntRange(0, 64).Draw(t, "cap")), &streaminfo.Info{LocalReplyBody: raw})
		var back struct{ Typed, Mixed string }
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		want := strings.ToValidUTF8(string(raw), "\ufffd")
		if !utf8.Valid(raw) { // runs of bad bytes become one replacement each
			want = string([]rune(string(raw)))
		}
		if back.Typed != want || back.Mixed != "<"+want+">" {
			t.Fatalf("%q came back as %q", raw, back.Typed)
		}
		if strings.ContainsAny(string(got), "\r\n") {
			t.Fatalf("%q is more than one line", got)
		}
	})
}
