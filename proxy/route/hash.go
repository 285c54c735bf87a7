package route

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Hash is what a route's hash policies make of a request (routing.md 13).
type Hash struct {
	// Value is the hash; without OK there is none, and hosts are chosen at random (RT-111).
	Value uint64
	OK    bool
	// Cookies has a bit for each policy whose cookie the client does not have and is to get.
	Cookies uint64
}

// maxHashPolicies is what Hash.Cookies has bits for.
const maxHashPolicies = 64

// hashPolicy is a compiled HashPolicy. Immutable.
type hashPolicy struct {
	conf    *conf.HashPolicy
	name    match.Name // of a header
	rewrite *substitution
	// before and after are the Set-Cookie value on either side of what is generated.
	before, after string
}

func compileHashPolicies(list []conf.HashPolicy) ([]hashPolicy, error) {
	if len(list) > maxHashPolicies {
		return nil, fmt.Errorf("hash_policy: %d entries are more than %d", len(list), maxHashPolicies)
	}
	out := make([]hashPolicy, len(list))
	for i := range list {
		if err := out[i].compile(&list[i]); err != nil {
			return nil, fmt.Errorf("hash_policy[%d].%w", i, err)
		}
	}
	return out, nil
}

func (p *hashPolicy) compile(c *conf.HashPolicy) (err error) {
	p.conf = c
	switch c.Input {
	case conf.HashHeader:
		if err := match.CheckName(c.Name); err != nil && !strings.HasPrefix(c.Name, ":") {
			return fmt.Errorf("header.header_name: %w", err)
		}
		p.name = match.NewName(c.Name)
		if c.Rewrite != nil {
			if p.rewrite, err = compileSubstitution(c.Rewrite, false); err != nil {
				return fmt.Errorf("header.regex_rewrite.%w", err)
			}
		}
	case conf.HashCookie:
		return p.compileCookie(c)
	case conf.HashQueryParameter, conf.HashState:
		if c.Name == "" {
			return fmt.Errorf("name: must not be empty")
		}
	}
	return nil
}

// compileCookie prepares the Set-Cookie line (RT-112):
//
//	NAME="HEX"; Max-Age=TTL; Path=P; attr=v; HttpOnly
func (p *hashPolicy) compileCookie(c *conf.HashPolicy) error {
	if c.Name == "" || strings.ContainsAny(c.Name, "=;, \t\"") || !graphic(c.Name) {
		return fmt.Errorf("cookie.name: %q is not the name of a cookie", c.Name)
	}
	p.before, p.after = c.Name+`="`, `"`
	if s := int64(c.TTL / time.Second); s > 0 {
		p.after += "; Max-Age=" + strconv.FormatInt(s, 10)
	}
	add := func(name, value string) error {
		for _, text := range []string{name, value} {
			if strings.ContainsAny(text, ";,") || !graphic(strings.ReplaceAll(text, " ", "")) {
				return fmt.Errorf("cookie: %q cannot stand in a set-cookie field", text)
			}
		}
		p.after += "; " + name
		if value != "" {
			p.after += "=" + value
		}
		return nil
	}
	if c.CookiePath != "" {
		if err := add("Path", c.CookiePath); err != nil {
			return err
		}
	}
	for _, a := range c.Attributes {
		if err := add(a[0], a[1]); err != nil {
			return err
		}
	}
	p.after += "; HttpOnly"
	return nil
}

// Hash evaluates the hash policies of a Forward result (RT-110). No allocation but for regex_rewrite.
func (res *Result) Hash(in *Input) Hash {
	if res.Route == nil || len(res.Route.hashes) == 0 {
		return Hash{}
	}
	return res.Route.hash(in)
}

func (r *Route) hash(in *Input) (out Hash) {
	for i := range r.hashes {
		p := &r.hashes[i]
		v, generated, ok := p.evaluate(in)
		if ok {
			out.Value = out.Value<<1 | out.Value>>63
			out.Value ^= v
			out.OK = true
			if generated {
				out.Cookies |= 1 << i
			}
		}
		if p.conf.Terminal && out.OK {
			break
		}
	}
	return out
}

// evaluate hashes what the policy looks at; generated says that it is a cookie made up for the client.
func (p *hashPolicy) evaluate(in *Input) (v uint64, generated, ok bool) {
	switch p.conf.Input {
	case conf.HashHeader:
		v, ok = p.hashHeader(in)
	case conf.HashCookie:
		text, _ := cookie(in.Head, p.conf.Name)
		if len(text) > 0 {
			return cluster.Hash(text), false, true
		}
		if p.conf.Generate && in.Info != nil {
			var b [cookieHexLen]byte
			return cluster.Hash(appendCookieValue(b[:0], in.Info)), true, true
		}
	case conf.HashRemoteIP:
		if in.Info == nil || !in.Info.RemoteAddress.IsValid() {
			return 0, false, false
		}
		var b [maxAddrText]byte
		return cluster.Hash(in.Info.RemoteAddress.Addr().AppendTo(b[:0])), false, true
	case conf.HashQueryParameter:
		if text, there := parameter(queryOf(in.Head.Bytes(in.Head.Path)), p.conf.Name); there {
			return cluster.Hash(text), false, true
		}
	case conf.HashState:
		if text, there := in.filterState(p.conf.Name); there {
			return cluster.Hash(text), false, true
		}
	}
	return v, false, ok
}

const (
	cookieHexLen = 16
	maxAddrText  = 64 // an IPv6 address with zone and port
)

// hashHeader hashes all values of the header, in the order of their bytes, so that the order they came in
// does not matter.
func (p *hashPolicy) hashHeader(in *Input) (uint64, bool) {
	h := in.Head
	if p.name.Lower[0] == ':' {
		v := pseudoOf(h, p.name.Lower)
		if len(v) == 0 {
			return 0, false
		}
		if p.rewrite != nil {
			v = p.rewrite.apply(v)
		}
		return cluster.Hash(v), true
	}
	first := h.Find(p.name.ID, p.name.Lower)
	if first < 0 {
		return 0, false
	}
	if p.rewrite != nil {
		return p.hashRewritten(h, first), true
	}
	if h.Next(first) < 0 {
		return cluster.Hash(h.Bytes(h.Fields[first].Value)), true
	}
	// Selection without memory: each round takes the least of those above the one before. The heads have
	// few fields of one name.
	out := in.Scratch[:0]
	last := -1
	for {
		next := -1
		for i := first; i >= 0; i = h.Next(i) {
			if (last < 0 || before(h, last, i)) && (next < 0 || before(h, i, next)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		out = append(out, h.Bytes(h.Fields[next].Value)...)
		last = next
	}
	in.Scratch = out
	return cluster.Hash(out), true
}

// before orders the fields at two places by value, equal ones by place.
func before(h *header.Head, a, b int) bool {
	c := bytes.Compare(h.Bytes(h.Fields[a].Value), h.Bytes(h.Fields[b].Value))
	return c < 0 || c == 0 && a < b
}

func (p *hashPolicy) hashRewritten(h *header.Head, first int) uint64 {
	var values [][]byte
	for i := first; i >= 0; i = h.Next(i) {
		values = append(values, p.rewrite.apply(h.Bytes(h.Fields[i].Value)))
	}
	slices.SortFunc(values, bytes.Compare)
	return cluster.Hash(bytes.Join(values, nil))
}

func pseudoOf(h *header.Head, name string) []byte {
	switch name {
	case ":method":
		return h.Bytes(h.MethodText)
	case ":path":
		return h.Bytes(h.Path)
	case ":authority":
		return h.Bytes(h.Authority)
	case ":scheme":
		return h.Bytes(h.Scheme)
	}
	return nil
}

// appendCookieValue appends what a generated cookie holds: the same for all requests of a connection.
func appendCookieValue(dst []byte, i *streaminfo.Info) []byte {
	var b [2 * maxAddrText]byte
	text := b[:0]
	if i.Conn != nil {
		text = appendAddrPort(text, i.Conn.Remote)
		text = appendAddrPort(text, i.Conn.Local)
	}
	n := cluster.Hash(text)
	var raw [8]byte
	for k := range raw {
		raw[k] = byte(n >> (56 - 8*k))
	}
	return hex.AppendEncode(dst, raw[:])
}

func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return dst
	}
	return a.AppendTo(dst)
}

// AddCookies appends a Set-Cookie field to a response for each cookie in h.Cookies. Allocates nothing
// beyond the head's own storage.
func (res *Result) AddCookies(h Hash, response *header.Head, i *streaminfo.Info) {
	if h.Cookies == 0 || res.Route == nil {
		return
	}
	for k := range res.Route.hashes {
		if h.Cookies>>k&1 == 0 {
			continue
		}
		p := &res.Route.hashes[k]
		var b [512]byte
		v := append(b[:0], p.before...)
		v = append(appendCookieValue(v, i), p.after...)
		response.Add(header.SetCookie, header.SetCookie.String(), v)
	}
}
