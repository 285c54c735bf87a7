package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// lineCodec is a protocol for tests, a line for each frame:
//
//	request:   <id> <method> <path> [host=<host>] [<name>=<value>]...
//	           method oneway has no response; a line "beat" is answered "beat"; "?" cannot be read
//	           a line that ends in "+" goes on: "<id> more" and "<id> end" follow
//	response:  <id> <code> <text>     of which "close" in the text is frame.Close
//	           <id> <code> +          begins one that goes on with "<id> more" and ends with "<id> end"
//	           push <text>            answers nobody
type lineCodec struct {
	matching frame.Matching
	silent   bool // has no local replies
}

func (lineCodec) Protocol() string                  { return "line" }
func (c lineCodec) Matching() frame.Matching        { return c.matching }
func (lineCodec) MaxBuffered() int                  { return 4096 }
func (lineCodec) NewRequestDecoder() frame.Decoder  { return &lineDecoder{} }
func (lineCodec) NewResponseDecoder() frame.Decoder { return &lineDecoder{response: true} }

func (c lineCodec) AppendReply(dst []byte, r *frame.Frame, s frame.Status, details string) ([]byte, uint16) {
	if c.silent {
		return dst, 0
	}
	code := uint16(500 + int(s))
	return fmt.Appendf(dst, "%d %d %s %s\n", r.ID, code, r.Method, details), code
}

func (lineCodec) Property(head []byte, _ bool, name string) (value []byte, ok bool) {
	for _, word := range bytes.Fields(head) {
		if n, v, found := bytes.Cut(word, []byte("=")); found && string(n) == name {
			return v, true
		}
	}
	return nil, false
}

func (c lineCodec) VisitProperties(head []byte, _ bool, f func(name, value []byte) bool) {
	for _, word := range bytes.Fields(head) {
		if n, v, found := bytes.Cut(word, []byte("=")); found && !f(n, v) {
			return
		}
	}
}

func (c lineCodec) AppendEdited(dst, head []byte, _ bool, name string, value []byte, erase bool) ([]byte, bool) {
	var words [][]byte
	for _, word := range bytes.Fields(head) {
		if !bytes.HasPrefix(word, []byte(name+"=")) {
			words = append(words, word)
		}
	}
	if !erase {
		words = append(words, fmt.Appendf(nil, "%s=%s", name, value))
	}
	return append(append(dst, bytes.Join(words, []byte(" "))...), '\n'), true
}

type lineDecoder struct {
	response bool
	open     map[uint64]bool
}

func (d *lineDecoder) Reset() { d.open = nil }

func (d *lineDecoder) Next(b []byte, f *frame.Frame) (int, error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return 0, nil
	}
	n, line := end+1, string(b[:end])
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
		return n, nil
	case line[0] == '?':
		return 0, frame.Error("a question")
	case line == "beat":
		f.Flags, f.Reply = frame.Answer, []byte("beat\n")
		return n, nil
	case words[0] == "push":
		f.Flags = frame.Header | frame.End | frame.Push
		return n, nil
	}
	id, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil || len(words) < 2 {
		return 0, frame.Error("no id")
	}
	f.ID = id
	switch words[1] {
	case "more":
		f.Flags = frame.Common
		return n, nil
	case "end":
		f.Flags = frame.Common | frame.End
		return n, nil
	}
	f.Flags = frame.Header
	if words[len(words)-1] != "+" {
		f.Flags |= frame.End
	}
	if d.response {
		code, _ := strconv.Atoi(words[1])
		f.Code, f.Failed = uint16(code), code >= 500
		if strings.Contains(line, "close") {
			f.Flags |= frame.Close
		}
		return n, nil
	}
	f.Method = []byte(words[1])
	if len(words) > 2 {
		f.Path = []byte(words[2])
	}
	f.Host, _ = lineCodec{}.Property(b[:n], false, "host")
	if words[1] == "oneway" {
		f.Flags |= frame.OneWay
	}
	return n, nil
}

// lines are codecs by name.
var lineCodecs = map[string]frame.Codec{
	"ids": lineCodec{matching: frame.ByID}, "order": lineCodec{matching: frame.InOrder}, "one": lineCodec{matching: frame.OneByOne},
	"silent": lineCodec{matching: frame.ByID, silent: true}, "silentorder": lineCodec{matching: frame.InOrder, silent: true},
}

// startLines starts a topology of the line protocol.
func startLines(t testing.TB, codec string, bind bool, top harness.GenericTopology, origins ...harness.Origin) *harness.Proxy {
	t.Helper()
	top.Codec, top.Codecs, top.Bind = codec, lineCodecs, bind
	if top.Clusters == nil {
		top.Clusters = to(origins...)
	}
	return harness.StartGeneric(t, top)
}

// answering is an origin that answers each line: by the method, which may be ok, or a code.
func answering(p *harness.Peer) {
	for {
		line, err := p.In.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if len(words) < 2 || words[1] == "oneway" {
			continue
		}
		code := "200"
		if _, err := strconv.Atoi(words[1]); err == nil {
			code = words[1]
		}
		p.Send(words[0] + " " + code + " " + strings.Join(words[1:], " ") + "\n")
	}
}

// lineOrigin is an origin whose connections hand their lines to the test and send what it says.
type lineOrigin struct {
	*harness.Raw
	mu    sync.Mutex
	got   chan lineFrom
	peers []*harness.Peer
	stash []lineFrom // the test's
}

type lineFrom struct {
	peer int
	line string
}

func newLineOrigin(t testing.TB) *lineOrigin {
	s := &lineOrigin{got: make(chan lineFrom, 1000)}
	s.Raw = harness.NewRaw(t, func(p *harness.Peer) {
		s.mu.Lock()
		n := len(s.peers)
		s.peers = append(s.peers, p)
		s.mu.Unlock()
		for {
			line, err := p.In.ReadString('\n')
			if err != nil {
				s.got <- lineFrom{n, "EOF"}
				return
			}
			s.got <- lineFrom{n, strings.TrimSpace(line)}
		}
	})
	return s
}

func (s *lineOrigin) peer(n int) *harness.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[n]
}

// await waits for a line of any connection, and says which one. What others say meanwhile waits for its
// own await.
func (s *lineOrigin) await(t testing.TB, want string) int {
	t.Helper()
	at := -1
	harness.Eventually(t, "the line "+want, func() bool {
		for more := true; more; {
			select {
			case got := <-s.got:
				s.stash = append(s.stash, got)
			default:
				more = false
			}
		}
		at = slices.IndexFunc(s.stash, func(l lineFrom) bool { return l.line == want })
		return at >= 0
	})
	peer := s.stash[at].peer
	s.stash = slices.Delete(s.stash, at, at+1)
	return peer
}

// nothing says that no line has come.
func (s *lineOrigin) nothing(t testing.TB) {
	t.Helper()
	select {
	case got := <-s.got:
		s.stash = append(s.stash, got)
	default:
	}
	if len(s.stash) > 0 {
		t.Fatalf("the origin got %v too early", s.stash)
	}
}
