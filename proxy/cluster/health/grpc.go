package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// grpcCheck calls grpc.health.v1.Health/Check. Messages are so small that they are made by hand.
type grpcCheck struct {
	c         *Checker
	t         *Target
	transport *http.Transport
	message   []byte
}

const grpcPath = "/grpc.health.v1.Health/Check"

func newGRPC(c *Checker, t *Target) *grpcCheck {
	return &grpcCheck{c: c, t: t, transport: newTransport(c, t), message: checkRequest(c.o.Conf.GRPC.Service)}
}

// checkRequest is a HealthCheckRequest as a gRPC message:
//
//	| 0 not compressed | length, 4 bytes | field 1, string: tag 0x0a, length, service |
func checkRequest(service string) []byte {
	var b []byte
	if service != "" {
		b = append(binary.AppendUvarint([]byte{0x0a}, uint64(len(service))), service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// serving says whether a HealthCheckResponse, as a gRPC message, has status 1: SERVING.
func serving(b []byte) (bool, error) {
	if len(b) < 5 || b[0] != 0 || binary.BigEndian.Uint32(b[1:]) != uint32(len(b)-5) {
		return false, errors.New("no gRPC message of one health status")
	}
	status := uint64(0)
	for b = b[5:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return false, errors.New("no HealthCheckResponse")
		}
		b = b[n:]
		switch tag & 7 {
		case 0: // varint
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return false, errors.New("no HealthCheckResponse")
			}
			if b = b[n:]; tag>>3 == 1 {
				status = v
			}
		case 2: // bytes of an unknown field
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return false, errors.New("no HealthCheckResponse")
			}
			b = b[n+int(size):]
		default:
			return false, errors.New("no HealthCheckResponse")
		}
	}
	return status == 1, nil
}

func (k *grpcCheck) check(ctx context.Context) Result {
	o := k.c.o.Conf
	if !o.ReuseConnection {
		defer k.transport.CloseIdleConnections()
	}
	r := (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Scheme: "http", Host: k.t.Authority, Path: grpcPath}, Host: k.t.Authority,
		Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(k.message)), ContentLength: int64(len(k.message)),
	}).WithContext(ctx)
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	addFields(r, o.GRPC.InitialMetadata)
	response, err := k.transport.RoundTrip(r)
	if err != nil {
		return Result{Outcome: Unreachable, Err: err}
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return Result{Outcome: Unreachable, Err: err}
	}
	return judgeGRPC(response, b)
}

func judgeGRPC(r *http.Response, b []byte) Result {
	bad := func(err error) Result { return Result{Outcome: Bad, Err: err} }
	if len(r.Header[fieldFailed]) > 0 {
		return Result{Outcome: Bad, Excluded: true, Err: errImmediate}
	}
	if r.StatusCode != http.StatusOK {
		return bad(fmt.Errorf("status %d", r.StatusCode))
	}
	status := r.Trailer.Get("Grpc-Status")
	if status == "" {
		status = r.Header.Get("Grpc-Status")
	}
	if status != "0" {
		return bad(fmt.Errorf("grpc-status %q", status))
	}
	ok, err := serving(b)
	switch {
	case err != nil:
		return bad(err)
	case !ok:
		return bad(errors.New("not serving"))
	}
	return Result{Degraded: r.Header.Get(fieldDegr) != ""}
}

func (k *grpcCheck) close() { k.transport.CloseIdleConnections() }
