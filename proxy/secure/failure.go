package secure

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
)

// Failure returns why TLS failed, as %DOWNSTREAM_TRANSPORT_FAILURE_REASON% and the
// upstream one have it: "TLS_error:" and the name that BoringSSL has for it, without
// spaces.
//
//	TLS_error:NO_SHARED_CIPHER
//	TLS_error:CERTIFICATE_VERIFY_FAILED:certificate_has_expired
//	TLS_error:TLSV1_ALERT_UNKNOWN_CA        the peer says so
//
// err is that of a handshake or of a connection; empty for nil. Allocates at most the
// text. Names of errors that are not in the tables are made of their text.
func Failure(err error) string {
	if err == nil {
		return ""
	}
	var refused *VerifyError
	if errors.As(err, &refused) {
		return "TLS_error:CERTIFICATE_VERIFY_FAILED:" + refused.Text
	}
	return "TLS_error:" + failureName(err)
}

func failureName(err error) string {
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "UNEXPECTED_EOF"
	case errors.As(err, &header):
		if plainHTTP(header.RecordHeader[:]) {
			return "HTTP_REQUEST"
		}
		return "WRONG_VERSION_NUMBER"
	case errors.As(err, &op) && op.Op == "remote error":
		text, _ := strings.CutPrefix(op.Err.Error(), "tls: ")
		if name, ok := alerts[text]; ok {
			return name
		}
		return "ALERT_" + token(text)
	}
	text := err.Error()
	for i := range failures {
		if strings.Contains(text, failures[i].text) {
			return failures[i].name
		}
	}
	return token(text)
}

// plainHTTP says whether somebody speaks HTTP where a record was expected.
func plainHTTP(first []byte) bool {
	for _, method := range []string{"GET ", "POST", "HEAD", "PUT ", "CONN", "OPTI", "DELE", "PATC", "HTTP", "PRI "} {
		if bytes.HasPrefix(first, []byte(method)) {
			return true
		}
	}
	return false
}

// alerts are the names of the alerts a peer sends, by crypto/tls's text.
var alerts = map[string]string{
	"close notify":                    "CLOSE_NOTIFY",
	"unexpected message":              "SSLV3_ALERT_UNEXPECTED_MESSAGE",
	"bad record MAC":                  "SSLV3_ALERT_BAD_RECORD_MAC",
	"decryption failed":               "TLSV1_ALERT_DECRYPTION_FAILED",
	"record overflow":                 "TLSV1_ALERT_RECORD_OVERFLOW",
	"decompression failure":           "SSLV3_ALERT_DECOMPRESSION_FAILURE",
	"handshake failure":               "SSLV3_ALERT_HANDSHAKE_FAILURE",
	"bad certificate":                 "SSLV3_ALERT_BAD_CERTIFICATE",
	"unsupported certificate":         "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
	"revoked certificate":             "SSLV3_ALERT_CERTIFICATE_REVOKED",
	"expired certificate":             "SSLV3_ALERT_CERTIFICATE_EXPIRED",
	"unknown certificate":             "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
	"illegal parameter":               "SSLV3_ALERT_ILLEGAL_PARAMETER",
	"unknown certificate authority":   "TLSV1_ALERT_UNKNOWN_CA",
	"access denied":                   "TLSV1_ALERT_ACCESS_DENIED",
	"error decoding message":          "TLSV1_ALERT_DECODE_ERROR",
	"error decrypting message":        "TLSV1_ALERT_DECRYPT_ERROR",
	"export restriction":              "TLSV1_ALERT_EXPORT_RESTRICTION",
	"protocol version not supported":  "TLSV1_ALERT_PROTOCOL_VERSION",
	"insufficient security level":     "TLSV1_ALERT_INSUFFICIENT_SECURITY",
	"internal error":                  "TLSV1_ALERT_INTERNAL_ERROR",
	"inappropriate fallback":          "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
	"user canceled":                   "TLSV1_ALERT_USER_CANCELLED",
	"no renegotiation":                "TLSV1_ALERT_NO_RENEGOTIATION",
	"missing extension":               "TLSV1_ALERT_MISSING_EXTENSION",
	"unsupported extension":           "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
	"certificate unobtainable":        "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE",
	"unrecognized name":               "TLSV1_ALERT_UNRECOGNIZED_NAME",
	"bad certificate status response": "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
	"bad certificate hash value":      "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE",
	"unknown PSK identity":            "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
	"certificate required":            "TLSV1_ALERT_CERTIFICATE_REQUIRED",
	"no application protocol":         "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
	"encrypted client hello required": "TLSV1_ALERT_ECH_REQUIRED",
}

// noClientCertificate is crypto/tls's text when a client has none and must.
const noClientCertificate = "client didn't provide a certificate"

// failures are names of our own end's errors, by a part of their text.
var failures = []struct{ text, name string }{
	{noClientCertificate, "PEER_DID_NOT_RETURN_A_CERTIFICATE"},
	{"unsupported versions", "UNSUPPORTED_PROTOCOL"},
	{"unsupported protocol version", "UNSUPPORTED_PROTOCOL"},
	{"no cipher suite supported by both", "NO_SHARED_CIPHER"},
	{"chose an unconfigured cipher suite", "WRONG_CIPHER_RETURNED"},
	{"no ECDHE curve supported by both", "NO_SHARED_GROUP"},
	{"no key exchanges supported by both", "NO_SHARED_GROUP"},
	{"no certificates configured", "UNRECOGNIZED_NAME"},
	{errStapling.Error(), "OCSP_CB_ERROR"},
	{"signature algorithms", "NO_COMMON_SIGNATURE_ALGORITHMS"},
	{"unadvertised ALPN", "INVALID_ALPN_PROTOCOL"},
	{"first bytes are no TLS handshake", "WRONG_VERSION_NUMBER"},
	{"oversized record", "ENCRYPTED_LENGTH_TOO_LONG"},
	{"bad record MAC", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"},
	{"invalid signature by the", "BAD_SIGNATURE"},
	{"no renegotiation", "NO_RENEGOTIATION"},
	{"failed to parse", "CANNOT_PARSE_LEAF_CERT"},
	{"unexpected message", "UNEXPECTED_MESSAGE"},
	{"unexpected handshake message", "UNEXPECTED_MESSAGE"},
}

// maxToken bounds a name that is made of an error's text.
const maxToken = 64

// token makes a text one word that can stand in a header and a log.
func token(text string) string {
	b := []byte(text[:min(len(text), maxToken)])
	for i, c := range b {
		switch {
		case 'a' <= c && c <= 'z':
			b[i] = c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}
