package wire

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// Load reads every *.txt file of a folder as case files, in the order of their names. Ids are unique.
func Load(files fs.FS) ([]*Case, error) {
	names, err := fs.Glob(files, "*.txt")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var all []*Case
	seen := map[string]bool{}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		cases, err := Parse(name, string(text))
		if err != nil {
			return nil, err
		}
		for _, c := range cases {
			if seen[c.ID] {
				return nil, fmt.Errorf("%s:%d: a second case %s", c.File, c.Line, c.ID)
			}
			seen[c.ID] = true
			all = append(all, c)
		}
	}
	return all, nil
}

// Parse reads one case file; its base name is the family. The format is in the package comment.
// An error begins with file:line.
func Parse(name, text string) ([]*Case, error) {
	p := &parser{file: path.Base(name), family: strings.TrimSuffix(path.Base(name), ".txt")}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		if err := p.take(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", p.file, p.line, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", p.file, p.line, err)
	}
	return p.cases, nil
}

type parser struct {
	file, family string
	line         int
	cases        []*Case
	cur          *Case
	msg          *Message // what "with", "body" and so on describe
	originSaid   bool
}

// take reads one line.
func (p *parser) take(line string) error {
	if rest, ok := strings.CutPrefix(line, ">"); ok {
		return p.takeBytes(rest, p.addClient)
	}
	if rest, ok := strings.CutPrefix(line, "<"); ok {
		return p.takeBytes(rest, p.addOrigin)
	}
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return nil
	}
	word, rest, _ := strings.Cut(line, " ")
	if word == "case" {
		return p.begin(rest)
	}
	if p.cur == nil {
		return fmt.Errorf("%q before the first case", word)
	}
	switch word {
	case "rule":
		p.cur.Rule = rest
	case "says":
		p.cur.Says = rest
	case "profile":
		if !KnownProfile(rest) {
			return fmt.Errorf("no profile %q", rest)
		}
		p.cur.Profile = rest
	case "client":
		return p.clientDoes(rest)
	case "origin":
		return p.originDoes(rest)
	case "gets":
		return p.gets(rest)
	case "forwards":
		return p.forwards(rest)
	case "closes":
		return p.addClient(Step{Op: Closes})
	case "stays":
		return p.addClient(Step{Op: StaysOpen})
	case "nginx", "haproxy":
		verb, reason, ok := strings.Cut(rest, ": ")
		if !ok || verb != "differs" && verb != "varies" {
			return fmt.Errorf("want %q", word+" differs: reason")
		}
		p.cur.Differs[word], p.cur.Varies[word] = reason, verb == "varies"
	default:
		if p.msg == nil {
			return fmt.Errorf("%q describes no message", word)
		}
		return p.msg.describe(word, rest)
	}
	return nil
}

func (p *parser) begin(name string) error {
	if err := p.finish(); err != nil {
		return err
	}
	if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(name) {
		return fmt.Errorf("a case name is lower-case words joined by '-', not %q", name)
	}
	p.cur = &Case{
		ID: p.family + "/" + name, File: p.file, Line: p.line, Profile: "default",
		Differs: map[string]string{}, Varies: map[string]bool{},
	}
	p.msg, p.originSaid = nil, false
	return nil
}

// finish checks the case that ends here.
func (p *parser) finish() error {
	c := p.cur
	if c == nil {
		return nil
	}
	p.cur = nil
	switch {
	case c.Rule == "":
		return fmt.Errorf("case %s has no rule", c.ID)
	case c.Says == "":
		return fmt.Errorf("case %s says nothing", c.ID)
	case len(c.Client) == 0 || c.Client[0].Op != Send && c.Client[0].Op != Shut:
		return fmt.Errorf("case %s begins with no bytes of the client", c.ID)
	case !p.originSaid:
		return fmt.Errorf("case %s does not say what the origin gets", c.ID)
	case c.Client[len(c.Client)-1].Op == Send:
		return fmt.Errorf("case %s does not say what the client gets", c.ID)
	}
	p.cases = append(p.cases, c)
	return nil
}

func (p *parser) takeBytes(text string, add func(Step) error) error {
	if p.cur == nil {
		return fmt.Errorf("bytes before the first case")
	}
	b, err := wireLine(strings.TrimPrefix(text, " "))
	if err != nil {
		return err
	}
	return add(Step{Op: Send, Bytes: b})
}

// addClient appends a step; bytes join the bytes before them.
func (p *parser) addClient(s Step) error {
	p.cur.Client = appendStep(p.cur.Client, s)
	return nil
}

func (p *parser) addOrigin(s Step) error {
	if len(p.cur.Answers) == 0 {
		p.cur.Answers = append(p.cur.Answers, Answer{})
	}
	a := &p.cur.Answers[len(p.cur.Answers)-1]
	if s.Op == ReadBody && !a.Early {
		return fmt.Errorf("the body is read already unless the origin answers early")
	}
	a.Steps = appendStep(a.Steps, s)
	return nil
}

func appendStep(steps []Step, s Step) []Step {
	if n := len(steps); s.Op == Send && n > 0 && steps[n-1].Op == Send {
		steps[n-1].Bytes = append(steps[n-1].Bytes, s.Bytes...)
		return steps
	}
	return append(steps, s)
}

func (p *parser) clientDoes(what string) error {
	switch what {
	case "pauses":
		return p.addClient(Step{Op: Pause})
	case "shuts":
		return p.addClient(Step{Op: Shut})
	case "resets":
		return p.addClient(Step{Op: Reset})
	}
	return fmt.Errorf("the client pauses, shuts or resets; not %q", what)
}

func (p *parser) originDoes(what string) error {
	switch what {
	case "answers", "answers early":
		p.cur.Answers = append(p.cur.Answers, Answer{Early: what == "answers early"})
		return nil
	case "pauses":
		return p.addOrigin(Step{Op: Pause})
	case "reads body":
		return p.addOrigin(Step{Op: ReadBody})
	case "closes":
		return p.addOrigin(Step{Op: CloseAfter})
	case "resets":
		return p.addOrigin(Step{Op: Reset})
	case "gets nothing", "completes nothing":
		if p.originSaid {
			return fmt.Errorf("a second statement about what the origin gets")
		}
		p.originSaid = true
		p.cur.Origin.Mode = GetsNothing
		if what == "completes nothing" {
			p.cur.Origin.Mode = CompletesNothing
		}
		return nil
	}
	return fmt.Errorf("the origin does not know how to %q", what)
}

// gets reads "200", "400|426", "200 to HEAD", "200 cut".
func (p *parser) gets(rest string) error {
	words := strings.Fields(rest)
	if len(words) == 0 {
		return fmt.Errorf("gets what status?")
	}
	m := &Message{}
	for _, s := range strings.Split(words[0], "|") {
		code, err := strconv.Atoi(s)
		if err != nil || code < 100 || code > 599 {
			return fmt.Errorf("%q is no status", s)
		}
		m.Statuses = append(m.Statuses, code)
	}
	switch w := words[1:]; {
	case len(w) == 0:
	case len(w) == 1 && w[0] == "cut":
		m.Cut = true
	case len(w) == 2 && w[0] == "to":
		m.To = w[1]
	default:
		return fmt.Errorf("after the status: cut, or to METHOD; not %q", w)
	}
	p.msg = m
	return p.addClient(Step{Op: Gets, Want: m})
}

// forwards reads "GET /path".
func (p *parser) forwards(rest string) error {
	if p.originSaid && p.cur.Origin.Mode != GetsExactly {
		return fmt.Errorf("the origin gets nothing, this case said")
	}
	if len(strings.Fields(rest)) != 2 {
		return fmt.Errorf("want METHOD TARGET, not %q", rest)
	}
	line, err := unescape(rest)
	if err != nil {
		return err
	}
	p.originSaid = true
	p.msg = &Message{Line: string(line)}
	p.cur.Origin.Requests = append(p.cur.Origin.Requests, p.msg)
	return nil
}

// describe reads one attribute of a message.
func (m *Message) describe(word, rest string) error {
	switch word {
	case "line":
		m.Line = rest
	case "with":
		return addField(&m.Fields, rest)
	case "without":
		m.Absent = append(m.Absent, strings.ToLower(rest))
	case "spelled":
		m.Spelled = append(m.Spelled, rest)
	case "body":
		b, err := unescape(rest)
		if err != nil {
			return err
		}
		s := string(b)
		m.Body = &s
	case "framed":
		m.Framed = Framing(rest)
		switch m.Framed {
		case FramedNone, FramedLength, FramedChunked, FramedClose:
		default:
			return fmt.Errorf("framed none, length, chunked or close; not %q", rest)
		}
	case "trailer":
		return addField(&m.Trailers, rest)
	case "on":
		switch rest {
		case "the same connection":
			m.Conn = SameConn
		case "a new connection":
			m.Conn = NewConn
		default:
			return fmt.Errorf("on the same connection, or on a new connection; not %q", rest)
		}
	case "cut":
		m.Cut = true
	case "no":
		if rest != "trailers" {
			return fmt.Errorf("no trailers, not no %q", rest)
		}
		m.NoTrailers = true
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

// addField reads "name", "name: value" or "name ~ regexp".
func addField(list *[]FieldWant, text string) error {
	if name, re, ok := strings.Cut(text, " ~ "); ok {
		pattern, err := regexp.Compile("^(?:" + re + ")$")
		if err != nil {
			return err
		}
		*list = append(*list, FieldWant{Name: strings.ToLower(name), Pattern: pattern})
		return nil
	}
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		*list = append(*list, FieldWant{Name: strings.ToLower(text), Any: true})
		return nil
	}
	b, err := unescape(strings.TrimPrefix(value, " "))
	if err != nil {
		return err
	}
	*list = append(*list, FieldWant{Name: strings.ToLower(name), Value: string(b)})
	return nil
}
