package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `# A comment.

case first
rule HC-1
says It reads.
profile http10
> GET / HTTP/1.1
> Host: a\
client pauses
> .example
>
< HTTP/1.1 103 Early Hints
<
origin answers early
< HTTP/1.1 200 OK
origin reads body
<
origin closes
forwards GET /
  with x-a: 1
  with x-a: \xff
  with x-b ~ [0-9]+
  with x-c
  without x-d
  spelled X-A
  body a\{bc*2}
  framed length
  on a new connection
gets 200|204 to HEAD
  trailer x-t: 1
gets 500 cut
  no trailers
stays open
nginx differs: it would
haproxy varies: it might

case second
rule HC-2
says Nothing comes of it.
> x\
client resets
origin completes nothing
`

func TestParseReadsEverySentence(t *testing.T) {
	cases, err := Parse("cases/fam.txt", sample)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 2 {
		t.Fatalf("%d cases, want 2", len(cases))
	}
	c := cases[0]
	if c.ID != "fam/first" || c.Line != 3 || c.Rule != "HC-1" || c.Says != "It reads." || c.Profile != "http10" {
		t.Errorf("heading read as %+v", c)
	}
	wantClient := []Step{
		{Op: Send, Bytes: []byte("GET / HTTP/1.1\r\nHost: a")},
		{Op: Pause},
		{Op: Send, Bytes: []byte(".example\r\n\r\n")},
		{Op: Gets, Want: &Message{Statuses: []int{200, 204}, To: "HEAD", Trailers: []FieldWant{{Name: "x-t", Value: "1"}}}},
		{Op: Gets, Want: &Message{Statuses: []int{500}, Cut: true, NoTrailers: true}},
		{Op: StaysOpen},
	}
	if d := cmp.Diff(wantClient, c.Client); d != "" {
		t.Error(d)
	}
	wantAnswers := []Answer{
		{Steps: []Step{{Op: Send, Bytes: []byte("HTTP/1.1 103 Early Hints\r\n\r\n")}}},
		{Early: true, Steps: []Step{
			{Op: Send, Bytes: []byte("HTTP/1.1 200 OK\r\n")},
			{Op: ReadBody},
			{Op: Send, Bytes: []byte("\r\n")},
			{Op: CloseAfter},
		}},
	}
	if d := cmp.Diff(wantAnswers, c.Answers); d != "" {
		t.Error(d)
	}
	m := c.Origin.Requests[0]
	if got := m.Fields[2].Pattern.String(); got != "^(?:[0-9]+)$" {
		t.Errorf("pattern %s", got)
	}
	m.Fields[2].Pattern = nil
	body := "abcbc"
	wantRequest := &Message{
		Line: "GET /", Absent: []string{"x-d"}, Spelled: []string{"X-A"}, Body: &body, Framed: FramedLength, Conn: NewConn,
		Fields: []FieldWant{
			{Name: "x-a", Value: "1"},
			{Name: "x-a", Value: "\xff"},
			{Name: "x-b"},
			{Name: "x-c", Any: true},
		},
	}
	if d := cmp.Diff(wantRequest, m); d != "" {
		t.Error(d)
	}
	if c.Differs["nginx"] != "it would" || c.Varies["nginx"] || c.Differs["haproxy"] != "it might" || !c.Varies["haproxy"] {
		t.Errorf("differences read as %v %v", c.Differs, c.Varies)
	}
	if cases[1].Origin.Mode != CompletesNothing || cases[1].Profile != "default" {
		t.Errorf("second case read as %+v", cases[1])
	}
}

func TestParseNamesTheLineOfAnError(t *testing.T) {
	const head = "case a\nrule R\nsays S.\n"
	for _, row := range []struct{ says, text, want string }{
		{"bytes before a case", "> x\n", "f.txt:1: bytes before"},
		{"a sentence before a case", "closes\n", `f.txt:1: "closes" before`},
		{"no rule", "case a\nsays S.\n> x\ncloses\norigin gets nothing\n", "no rule"},
		{"no sentence", "case a\nrule R\n> x\ncloses\norigin gets nothing\n", "says nothing"},
		{"nothing about the origin", head + "> x\ncloses\n", "what the origin gets"},
		{"nothing about the client", head + "> x\norigin gets nothing\n", "what the client gets"},
		{"no bytes", head + "closes\norigin gets nothing\n", "no bytes of the client"},
		{"an unknown profile", head + "profile nope\n", `f.txt:4: no profile "nope"`},
		{"an unknown word", head + "> x\ngets 200\nsmells bad\n", `f.txt:6: unknown word "smells"`},
		{"an attribute of nothing", head + "with x: 1\n", "describes no message"},
		{"an unknown escape", head + "> \\q\n", `f.txt:4: unknown escape \q`},
		{"half a hex escape", head + "> \\x1\n", "two hex digits"},
		{"a repetition without a count", head + "> \\{ab}\n", "wants text*N"},
		{"a repetition without bound", head + "> \\{ab*99999999}\n", "bad repetition count"},
		{"white space that cannot be seen", head + "> a \n", "cannot be seen"},
		{"a status that is none", head + "> x\ngets 42\n", "no status"},
		{"two words about nothing", head + "> x\norigin gets nothing\norigin completes nothing\n", "second statement"},
		{"nothing and something", head + "> x\norigin gets nothing\nforwards GET /\n", "gets nothing"},
		{"a body read twice", head + "> x\n< y\norigin reads body\n", "read already"},
		{"a framing that is none", head + "> x\ngets 200\nframed well\n", "framed none"},
		{"a pattern that is none", head + "> x\ngets 200\nwith a ~ (\n", "missing closing"},
		{"a name with capitals", "case A\n", "lower-case words"},
		{"a peer without a reason", head + "nginx differs\n", "differs: reason"},
	} {
		t.Run(row.says, func(t *testing.T) {
			_, err := Parse("f.txt", row.text)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "f.txt:") {
				t.Errorf("error %v, want f.txt: ... %s", err, row.want)
			}
		})
	}
}

func TestWireLineEndsInCRLFUnlessItEndsInABackslash(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{``, "\r\n"},
		{`a`, "a\r\n"},
		{`a\`, "a"},
		{`a\\`, "a\\\r\n"},
		{`a\\\`, "a\\"},
		{`\r\n\t\s\x00\x7f\`, "\r\n\t \x00\x7f"},
		{`\{ab\n*3}c\`, "ab\nab\nab\nc"},
		{`\{a*0}`, "\r\n"},
	} {
		got, err := wireLine(row.text)
		if err != nil || string(got) != row.want {
			t.Errorf("%s: %q, %v; want %q", row.text, got, err, row.want)
		}
	}
}

func TestUpdateKeepsTheListsTrue(t *testing.T) {
	const text = `# Head.

case one
rule R
> x
closes
nginx differs: old

# About two.
case two
rule R
> x
closes
haproxy differs: stays
`
	bad := []string{"client: got 200, want 400\n  and more", "second"}
	got := updateText(text, "nginx", []Result{
		{Case: &Case{Line: 3}, Outcome: Stale},
		{Case: &Case{Line: 10}, Outcome: Fails, Bad: bad},
	})
	want := strings.Replace(text, "nginx differs: old\n", "", 1) + "nginx differs: client: got 200, want 400\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestProfilesAreAllUsed(t *testing.T) {
	cases, err := Corpus()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Profiles() {
		if !slices.ContainsFunc(cases, func(c *Case) bool { return c.Profile == name }) {
			t.Errorf("no case uses profile %s", name)
		}
	}
}
