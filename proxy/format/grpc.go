package format

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// grpcForm is how a gRPC status is written.
type grpcForm uint8

const (
	grpcCamel grpcForm = iota
	grpcSnake
	grpcNumber
)

var grpcNames = [...][2]string{
	{"OK", "OK"},
	{"Canceled", "CANCELLED"},
	{"Unknown", "UNKNOWN"},
	{"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"},
	{"NotFound", "NOT_FOUND"},
	{"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"},
	{"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"},
	{"Aborted", "ABORTED"},
	{"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"},
	{"Internal", "INTERNAL"},
	{"Unavailable", "UNAVAILABLE"},
	{"DataLoss", "DATA_LOSS"},
	{"Unauthenticated", "UNAUTHENTICATED"},
}

func compileGRPC(c command) (op, error) {
	o := op{eval: appendGRPCStatus, request: true, response: true}
	switch c.argument {
	case "", "CAMEL_STRING":
		o.grpc = grpcCamel
	case "SNAKE_STRING":
		o.grpc = grpcSnake
	case "NUMBER":
		o.grpc, o.bare = grpcNumber, true
	default:
		return o, fmt.Errorf("argument %q: want CAMEL_STRING, SNAKE_STRING or NUMBER", c.argument)
	}
	return o, nil
}

// appendGRPCStatus writes grpc-status of the trailers, else of the head, else what the HTTP status
// means to a gRPC client. Unset on requests that are not gRPC.
func appendGRPCStatus(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if i.Request == nil || !bytes.HasPrefix(i.Request.Get(header.ContentType), []byte("application/grpc")) {
		return dst, false
	}
	status, ok := grpcStatus(i.ResponseTrailers)
	if !ok {
		status, ok = grpcStatus(i.Response)
	}
	if !ok {
		if i.ResponseCode == 0 {
			return dst, false
		}
		status = grpcFromHTTP(i.ResponseCode)
	}
	if o.grpc == grpcNumber || status >= uint64(len(grpcNames)) {
		return strconv.AppendUint(dst, status, 10), true
	}
	return append(dst, grpcNames[status][o.grpc]...), true
}

func grpcStatus(h *header.Head) (status uint64, ok bool) {
	if h == nil {
		return 0, false
	}
	v := h.Get(header.GrpcStatus)
	if len(v) == 0 || len(v) > 9 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		status = status*10 + uint64(c-'0')
	}
	return status, true
}

// grpcFromHTTP is gRPC's "HTTP to gRPC status code mapping".
func grpcFromHTTP(status uint16) uint64 {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}
