package hpack

import "github.com/sluiceproxy/sluice/codec/header"

// Pseudo tells the pseudo-header fields (RFC 9113 8.3, RFC 8441 4) from regular ones.
type Pseudo uint8

// The pseudo-header fields.
const (
	Regular Pseudo = iota
	Authority
	Method
	Path
	Scheme
	Status
	Protocol
	// OtherPseudo is any other name that begins with a colon: no message may have it.
	OtherPseudo
)

var pseudoNames = [...]string{
	Authority: ":authority", Method: ":method", Path: ":path", Scheme: ":scheme", Status: ":status", Protocol: ":protocol",
}

// String returns the name, "" for regular and other ones.
func (p Pseudo) String() string {
	if p >= OtherPseudo {
		return ""
	}
	return pseudoNames[p]
}

func pseudoOf(name []byte) Pseudo {
	for p := Authority; p < OtherPseudo; p++ {
		if string(name) == pseudoNames[p] {
			return p
		}
	}
	return OtherPseudo
}

// numStatic is the number of entries of the static table; dynamic indexes begin after it.
const numStatic = 61

// staticPairs is RFC 7541 A; index 0 is unused.
var staticPairs = [numStatic + 1][2]string{
	{},
	{":authority", ""},
	{":method", "GET"},
	{":method", "POST"},
	{":path", "/"},
	{":path", "/index.html"},
	{":scheme", "http"},
	{":scheme", "https"},
	{":status", "200"},
	{":status", "204"},
	{":status", "206"},
	{":status", "304"},
	{":status", "400"},
	{":status", "404"},
	{":status", "500"},
	{"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"},
	{"accept-language", ""},
	{"accept-ranges", ""},
	{"accept", ""},
	{"access-control-allow-origin", ""},
	{"age", ""},
	{"allow", ""},
	{"authorization", ""},
	{"cache-control", ""},
	{"content-disposition", ""},
	{"content-encoding", ""},
	{"content-language", ""},
	{"content-length", ""},
	{"content-location", ""},
	{"content-range", ""},
	{"content-type", ""},
	{"cookie", ""},
	{"date", ""},
	{"etag", ""},
	{"expect", ""},
	{"expires", ""},
	{"from", ""},
	{"host", ""},
	{"if-match", ""},
	{"if-modified-since", ""},
	{"if-none-match", ""},
	{"if-range", ""},
	{"if-unmodified-since", ""},
	{"last-modified", ""},
	{"link", ""},
	{"location", ""},
	{"max-forwards", ""},
	{"proxy-authenticate", ""},
	{"proxy-authorization", ""},
	{"range", ""},
	{"referer", ""},
	{"refresh", ""},
	{"retry-after", ""},
	{"server", ""},
	{"set-cookie", ""},
	{"strict-transport-security", ""},
	{"transfer-encoding", ""},
	{"user-agent", ""},
	{"vary", ""},
	{"via", ""},
	{"www-authenticate", ""},
}

// staticEntry is one row with what the decoder wants to know of it.
type staticEntry struct {
	name, value string
	id          header.Known
	pseudo      Pseudo
}

var statics = func() (out [numStatic + 1]staticEntry) {
	for i := 1; i <= numStatic; i++ {
		e := &out[i]
		e.name, e.value = staticPairs[i][0], staticPairs[i][1]
		if e.name[0] == ':' {
			e.pseudo = pseudoOf([]byte(e.name))
		} else {
			e.id = header.Lookup([]byte(e.name))
		}
	}
	return out
}()

// staticOfKnown and staticOfPseudo are the first static index of a name, 0 when it has none.
var staticOfKnown, staticOfPseudo = func() (known [header.NumKnown]uint8, pseudo [OtherPseudo]uint8) {
	for i := numStatic; i > 0; i-- {
		if e := &statics[i]; e.pseudo != Regular {
			pseudo[e.pseudo] = uint8(i)
		} else if e.id != header.Unknown {
			known[e.id] = uint8(i)
		}
	}
	return known, pseudo
}()

// staticOfName is the same for the names that are in the static table alone.
func staticOfName(name []byte) uint8 {
	switch string(name) {
	case "accept-charset":
		return 15
	case "accept-language":
		return 17
	case "accept-ranges":
		return 18
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "content-disposition":
		return 25
	case "content-language":
		return 27
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "etag":
		return 34
	case "expires":
		return 36
	case "from":
		return 37
	case "if-match":
		return 39
	case "if-modified-since":
		return 40
	case "if-range":
		return 42
	case "if-unmodified-since":
		return 43
	case "link":
		return 45
	case "max-forwards":
		return 47
	case "refresh":
		return 52
	case "strict-transport-security":
		return 56
	case "vary":
		return 59
	case "www-authenticate":
		return 61
	}
	return 0
}
