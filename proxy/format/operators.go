package format

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// compileCommand makes an operator's op; a constant one becomes a literal. generic admits the operators of
// generic proxies.
func compileCommand(c command, generic bool) (op, error) {
	o := op{limit: -1}
	if generic {
		if o, found, err := compileGeneric(c); found {
			return o, err
		}
	}
	switch c.name {
	case "REQ", "RESP", "TRAILER":
		return compileHeader(c)
	case "START_TIME", "START_TIME_LOCAL", "EMIT_TIME", "EMIT_TIME_LOCAL":
		if err := c.plain(true); err != nil {
			return o, err
		}
		return compileTime(c)
	case "COMMON_DURATION":
		if err := c.plain(true); err != nil {
			return o, err
		}
		return compileDuration(c.argument)
	case "RESPONSE_CODE_DETAILS":
		o.eval = appendDetails
		switch {
		case c.argument == "ALLOW_WHITESPACES":
			o.keepSpaces = true
		case c.hasArg:
			return o, fmt.Errorf("argument %q: want ALLOW_WHITESPACES", c.argument)
		}
		return o, c.plain(true)
	case "DYNAMIC_METADATA":
		return compileMetadata(c)
	case "FILTER_STATE":
		return compileFilterState(c)
	case "GRPC_STATUS":
		if err := c.plain(true); err != nil {
			return o, err
		}
		return compileGRPC(c)
	case "ENVIRONMENT":
		o.text = "-"
		if v, ok := os.LookupEnv(c.argument); ok {
			o.text = v
		}
		if c.argument == "" {
			return o, errors.New("the name of a variable is missing")
		}
		return o, c.plain(true)
	case "HOSTNAME":
		o.text = "-"
		if name, err := os.Hostname(); err == nil {
			o.text = name
		}
		return o, c.plain(false)
	}
	if o, ok := durations[c.name]; ok {
		return o, c.plain(false)
	}
	if o, ok := operators[c.name]; ok {
		return o, c.plain(false)
	}
	if o, ok, err := compileTLS(c); ok {
		return o, err
	}
	if reason, ok := unsupported[c.name]; ok {
		return o, fmt.Errorf("not supported: %s", reason)
	}
	return o, errors.New("unknown operator")
}

// plain says what of an argument or a limit is too much.
func (c *command) plain(argument bool) error {
	switch {
	case c.hasArg && !argument:
		return errors.New("takes no argument")
	case c.limit >= 0:
		return errors.New("takes no length")
	}
	return nil
}

const (
	noChain      = "only the peer's own certificate is described; x-forwarded-client-cert has the chain"
	noOtherNames = "other names of certificates are not read"
)

// unsupported are operators of Envoy whose facts this proxy does not have.
var unsupported = map[string]string{
	"CLUSTER_METADATA":                       "clusters have no metadata",
	"UPSTREAM_METADATA":                      "the endpoint's metadata is not kept",
	"UPSTREAM_FILTER_STATE":                  "no filter sets state of an upstream connection",
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256": noChain,
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1":   noChain,
	"DOWNSTREAM_PEER_CHAIN_SERIALS":          noChain,
	"DOWNSTREAM_PEER_OTHERNAME_SAN":          noOtherNames,
	"DOWNSTREAM_LOCAL_OTHERNAME_SAN":         noOtherNames,
	"METHOD":                                 "generic proxy only; use REQ(:METHOD)",
	"PATH":                                   "generic proxy only; use REQ(:PATH)",
	"HOST":                                   "generic proxy only; use REQ(:AUTHORITY)",
	"REQUEST_PROPERTY":                       "generic proxy only",
	"RESPONSE_PROPERTY":                      "generic proxy only",
}

// operators are those without arguments. A new field of streaminfo.Info becomes loggable by a row here.
var operators = map[string]op{
	"PROTOCOL": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return appendText(dst, versionText(i.Protocol))
	}},
	"UPSTREAM_PROTOCOL": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return appendText(dst, versionText(i.UpstreamProtocol))
	}},

	"RESPONSE_CODE": number(func(i *streaminfo.Info) uint64 { return uint64(i.ResponseCode) }),
	"RESPONSE_FLAGS": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return i.Flags.Append(dst, false), true
	}},
	"RESPONSE_FLAGS_LONG": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return i.Flags.Append(dst, true), true
	}},
	"CONNECTION_TERMINATION_DETAILS": text(func(i *streaminfo.Info) string { return i.TerminationDetails }),

	"BYTES_RECEIVED":                   number(func(i *streaminfo.Info) uint64 { return i.BytesReceived }),
	"BYTES_SENT":                       number(func(i *streaminfo.Info) uint64 { return i.BytesSent }),
	"DOWNSTREAM_WIRE_BYTES_RECEIVED":   number(func(i *streaminfo.Info) uint64 { return i.DownstreamWireReceived }),
	"DOWNSTREAM_WIRE_BYTES_SENT":       number(func(i *streaminfo.Info) uint64 { return i.DownstreamWireSent }),
	"DOWNSTREAM_HEADER_BYTES_RECEIVED": number(func(i *streaminfo.Info) uint64 { return i.DownstreamHeaderBytesReceived }),
	"DOWNSTREAM_HEADER_BYTES_SENT":     number(func(i *streaminfo.Info) uint64 { return i.DownstreamHeaderBytesSent }),
	"UPSTREAM_WIRE_BYTES_RECEIVED":     number(func(i *streaminfo.Info) uint64 { return i.UpstreamWireReceived }),
	"UPSTREAM_WIRE_BYTES_SENT":         number(func(i *streaminfo.Info) uint64 { return i.UpstreamWireSent }),
	"UPSTREAM_HEADER_BYTES_RECEIVED":   number(func(i *streaminfo.Info) uint64 { return i.UpstreamHeaderBytesReceived }),
	"UPSTREAM_HEADER_BYTES_SENT":       number(func(i *streaminfo.Info) uint64 { return i.UpstreamHeaderBytesSent }),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":   number(func(i *streaminfo.Info) uint64 { return uint64(i.Attempts) }),

	"UPSTREAM_HOST":                        address(upstream, whole),
	"UPSTREAM_REMOTE_ADDRESS":              address(upstream, whole),
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": address(upstream, ipOnly),
	"UPSTREAM_REMOTE_PORT":                 address(upstream, portOnly),
	"UPSTREAM_LOCAL_ADDRESS":               address(upstreamLocal, whole),
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":  address(upstreamLocal, ipOnly),
	"UPSTREAM_LOCAL_PORT":                  address(upstreamLocal, portOnly),
	"UPSTREAM_HOST_NAME":                   {eval: appendUpstreamName},
	"UPSTREAM_HOST_NAME_WITHOUT_PORT":      {eval: appendUpstreamNameOnly},
	"UPSTREAM_CLUSTER":                     text(func(i *streaminfo.Info) string { return i.UpstreamCluster }),
	"UPSTREAM_CLUSTER_RAW":                 text(func(i *streaminfo.Info) string { return i.UpstreamClusterRaw }),
	"UPSTREAM_TRANSPORT_FAILURE_REASON": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return appendOneWord(dst, i.UpstreamFailure), i.UpstreamFailure != ""
	}},
	"UPSTREAM_CONNECTION_ID":                        number(func(i *streaminfo.Info) uint64 { return i.UpstreamConnectionID }),
	"DOWNSTREAM_REMOTE_ADDRESS":                     address(remote, whole),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        address(remote, ipOnly),
	"DOWNSTREAM_REMOTE_PORT":                        address(remote, portOnly),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              address(directRemote, whole),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": address(directRemote, ipOnly),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 address(directRemote, portOnly),
	"DOWNSTREAM_LOCAL_ADDRESS":                      address(local, whole),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         address(local, ipOnly),
	"DOWNSTREAM_LOCAL_PORT":                         address(local, portOnly),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":               address(directLocal, whole),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT":  address(directLocal, ipOnly),
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                  address(directLocal, portOnly),

	"DOWNSTREAM_TRANSPORT_FAILURE_REASON": conn((*streaminfo.Connection).TransportFailure),
	"REQUESTED_SERVER_NAME":               {eval: appendServerName},
	"TLS_JA3_FINGERPRINT":                 extra(func(x *streaminfo.Extra) []byte { return x.JA3 }),
	"TLS_JA4_FINGERPRINT":                 extra(func(x *streaminfo.Extra) []byte { return x.JA4 }),
	"FILTER_CHAIN_NAME":                   conn((*streaminfo.Connection).FilterChain),
	"CONNECTION_ID": {bare: true, eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		if i.Conn == nil {
			return dst, false
		}
		return strconv.AppendUint(dst, i.Conn.ID, 10), true
	}},
	"STREAM_ID": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return strconv.AppendUint(dst, i.StreamID, 10), true
	}},
	"ROUTE_NAME":           text(func(i *streaminfo.Info) string { return i.RouteName }),
	"VIRTUAL_CLUSTER_NAME": text(func(i *streaminfo.Info) string { return i.VirtualClusterName }),
	"LOCAL_REPLY_BODY": {eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return append(dst, i.LocalReplyBody...), true
	}},
	"ACCESS_LOG_TYPE":    text(func(i *streaminfo.Info) string { return i.LogType.String() }),
	"GRPC_STATUS_NUMBER": {eval: appendGRPCStatus, bare: true, grpc: grpcNumber, request: true, response: true},
}

func number(field func(*streaminfo.Info) uint64) op {
	return op{bare: true, eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		return appendUint(dst, field(i)), true
	}}
}

// appendUint is strconv's, with statuses and small counts written in place.
func appendUint(dst []byte, v uint64) []byte {
	switch {
	case v < 10:
		return append(dst, byte('0'+v))
	case v < 100:
		return append(dst, byte('0'+v/10), byte('0'+v%10))
	case v < 1000:
		return append(dst, byte('0'+v/100), byte('0'+v/10%10), byte('0'+v%10))
	}
	return strconv.AppendUint(dst, v, 10)
}

// text is a field that is unset while it is empty.
func text(field func(*streaminfo.Info) string) op {
	return op{eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) { return appendText(dst, field(i)) }}
}

func conn[T string | []byte](field func(*streaminfo.Connection) T) op {
	return op{eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		if i.Conn == nil {
			return dst, false
		}
		return appendText(dst, field(i.Conn))
	}}
}

func extra(field func(*streaminfo.Extra) []byte) op {
	return conn(func(c *streaminfo.Connection) []byte {
		if c.Extra == nil {
			return nil
		}
		return field(c.Extra)
	})
}

func appendText[T string | []byte](dst []byte, s T) ([]byte, bool) {
	return append(dst, s...), len(s) > 0
}

func appendNothing(_ *op, dst []byte, _ *streaminfo.Info) ([]byte, bool) { return dst, false }

// appendDetails writes %RESPONSE_CODE_DETAILS%, white space as '_' unless the argument keeps it.
func appendDetails(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if o.keepSpaces {
		return appendText(dst, i.Details)
	}
	return appendOneWord(dst, i.Details), i.Details != ""
}

// appendOneWord appends text with '_' for white space: what reads a line splits it there.
func appendOneWord(dst []byte, text string) []byte {
	for n := range len(text) {
		c := text[n]
		if c == ' ' || '\t' <= c && c <= '\r' {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}
