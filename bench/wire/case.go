package wire

import "regexp"

// Case is one exchange of bytes and what must hold about it.
type Case struct {
	ID      string // family/name; the family is the name of the case file
	File    string // file name, for messages
	Line    int    // line of "case" in it
	Rule    string // where the expectation comes from: rule ids of the specification, RFC sections
	Says    string // one sentence
	Profile string // proxy configuration; "default" when the case names none

	Client  []Step   // what the client does and sees, in order
	Answers []Answer // what the origin does with its first, second, ... request; the last one repeats
	Origin  OriginWant

	// Differs holds, by target name, how a peer is known to behave otherwise.
	Differs map[string]string
	// Varies holds the names in Differs whose difference does not show in every run.
	Varies map[string]bool
}

// Op is one thing a client or the origin does.
type Op uint8

// The operations; the comment gives the words of a case file.
const (
	Send       Op = iota // "> text", "< text"
	Pause                // "client pauses", "origin pauses": the bytes before and after are separate segments
	Shut                 // "client shuts": half-close
	Reset                // "client resets", "origin resets": RST
	Gets                 // "gets 200": read one response
	Closes               // "closes": no further byte, and the connection ends
	StaysOpen            // "stays open": a further request on the same connection is served
	ReadBody             // "origin reads body": only after "origin answers early"
	CloseAfter           // "origin closes": FIN
)

// Step is one Op with its operand.
type Step struct {
	Op    Op
	Bytes []byte   // Send
	Want  *Message // Gets
}

// Answer is what the origin does with one request. The whole request is read first, unless Early:
// then the steps begin as soon as the head is there.
type Answer struct {
	Early bool
	Steps []Step
}

// OriginMode says how strictly OriginWant.Requests is meant.
type OriginMode uint8

// The three things a case can say about the origin.
const (
	GetsExactly      OriginMode = iota // "forwards ...": these requests and no other byte
	GetsNothing                        // "origin gets nothing": not a byte
	CompletesNothing                   // "origin completes nothing": perhaps the beginning of a request
)

// OriginWant is what the origin must have received when the case is over.
type OriginWant struct {
	Mode     OriginMode
	Requests []*Message
}

// Message is what one request or response must look like. Zero fields are not compared.
type Message struct {
	Statuses []int  // response: any of these
	To       string // response: method it answers, when that decides about the body (HEAD, CONNECT)
	Line     string // request: "METHOD target"; response: whole status line
	Fields   []FieldWant
	Absent   []string
	Spelled  []string // names that must be there in exactly this spelling
	Body     *string
	Framed   Framing
	Trailers []FieldWant
	// NoTrailers asks for a message without a trailer field.
	NoTrailers bool
	// Cut asks for a message whose connection ended before it did.
	Cut  bool
	Conn ConnWant
}

// FieldWant is one field that must be there. All FieldWants of one name together are the exact list
// of its values, in order, unless Any is set.
type FieldWant struct {
	Name    string // lower case
	Value   string
	Any     bool           // present with whatever value
	Pattern *regexp.Regexp // matches in place of Value
}

// Framing says how the end of a body is known.
type Framing string

// The framings of HTTP/1 (RFC 9112 6.3).
const (
	FramedNone    Framing = "none"
	FramedLength  Framing = "length"
	FramedChunked Framing = "chunked"
	FramedClose   Framing = "close"
)

// ConnWant relates the upstream connection of a request to that of the request before it.
type ConnWant uint8

// The relations a case can ask for.
const (
	AnyConn ConnWant = iota
	SameConn
	NewConn
)
