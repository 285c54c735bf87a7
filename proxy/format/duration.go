package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// timePoint is a moment of a stream, in the order they usually happen.
type timePoint uint8

const (
	downstreamRxBegin timePoint = iota
	downstreamRxEnd
	upstreamReady
	upstreamTxBegin
	upstreamTxEnd
	upstreamRxBegin
	upstreamRxEnd
	downstreamTxBegin
	downstreamTxEnd
)

func (p timePoint) of(i *streaminfo.Info) int64 {
	switch p {
	case downstreamRxBegin:
		return i.Start
	case downstreamRxEnd:
		return i.RequestEnd
	case upstreamReady:
		return i.UpstreamReady
	case upstreamTxBegin:
		return i.UpstreamTxBegin
	case upstreamTxEnd:
		return i.UpstreamTxEnd
	case upstreamRxBegin:
		return i.UpstreamRxBegin
	case upstreamRxEnd:
		return i.UpstreamRxEnd
	case downstreamTxBegin:
		return i.DownstreamTxBegin
	}
	return i.End
}

// durations are the operators with fixed points, in milliseconds.
var durations = map[string]op{
	"DURATION":             milliseconds(downstreamRxBegin, downstreamTxEnd),
	"REQUEST_DURATION":     milliseconds(downstreamRxBegin, downstreamRxEnd),
	"REQUEST_TX_DURATION":  milliseconds(downstreamRxBegin, upstreamTxEnd),
	"RESPONSE_DURATION":    milliseconds(downstreamRxBegin, upstreamRxBegin),
	"RESPONSE_TX_DURATION": milliseconds(upstreamRxBegin, downstreamTxEnd),

	"UPSTREAM_CONNECTION_POOL_READY_DURATION": milliseconds(downstreamRxBegin, upstreamReady),
	"DOWNSTREAM_HANDSHAKE_DURATION":           {eval: appendHandshake, bare: true},
}

func milliseconds(begin, end timePoint) op {
	return op{eval: appendDuration, bare: true, begin: begin, end: end, unitNs: int64(time.Millisecond)}
}

var pointNames = map[string]timePoint{
	"DS_RX_BEG": downstreamRxBegin, "DS_RX_END": downstreamRxEnd,
	"US_TX_BEG": upstreamTxBegin, "US_TX_END": upstreamTxEnd,
	"US_RX_BEG": upstreamRxBegin, "US_RX_END": upstreamRxEnd,
	"DS_TX_BEG": downstreamTxBegin, "DS_TX_END": downstreamTxEnd,
}

var durationUnits = map[string]time.Duration{"ms": time.Millisecond, "us": time.Microsecond, "ns": time.Nanosecond}

// compileDuration compiles %COMMON_DURATION(begin:end:unit)%.
func compileDuration(argument string) (op, error) {
	parts := strings.Split(argument, ":")
	if len(parts) != 3 {
		return op{}, fmt.Errorf("argument %q: want begin:end:unit", argument)
	}
	begin, err := parsePoint(parts[0])
	if err != nil {
		return op{}, err
	}
	end, err := parsePoint(parts[1])
	if err != nil {
		return op{}, err
	}
	unit, ok := durationUnits[parts[2]]
	if !ok {
		return op{}, fmt.Errorf("unit %q: want ms, us or ns", parts[2])
	}
	return op{eval: appendDuration, bare: true, begin: begin, end: end, unitNs: int64(unit)}, nil
}

func parsePoint(name string) (timePoint, error) {
	if p, ok := pointNames[name]; ok {
		return p, nil
	}
	switch name {
	case "US_CX_BEG", "US_CX_END", "US_HS_END", "US_RX_BODY_BEG":
		return 0, fmt.Errorf("time point %s is not supported", name)
	}
	return 0, fmt.Errorf("unknown time point %q", name)
}

// appendHandshake writes the time from the connection's beginning to the end of its TLS handshake. A
// plain connection has none.
func appendHandshake(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if i.Conn == nil || i.Conn.Secure == nil || i.Conn.Secure.HandshakeNs == 0 {
		return dst, false
	}
	return strconv.AppendUint(dst, uint64(i.Conn.Secure.HandshakeNs-i.Conn.StartNs)/uint64(time.Millisecond), 10), true
}

// appendDuration is unset while either end has not happened, and when they happened the other way
// round (a response that began before the request ended).
func appendDuration(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	begin, end := o.begin.of(i), o.end.of(i)
	if begin == 0 || end == 0 || end < begin {
		return dst, false
	}
	return appendUint(dst, uint64((end-begin)/o.unitNs)), true
}
