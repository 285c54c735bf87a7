package http1

// Err is why a message is refused; zero is none. The connection it came on cannot be used further.
type Err uint8

// The reasons, in the order of the parts of a message. Rule ids are those of the wire rules.
const (
	// OK: nothing is wrong.
	OK Err = iota
	// ErrRequestLine: the line is not method SP target SP version.
	ErrRequestLine
	// ErrMethod: not a token, or not registered while custom methods are off (HC-5).
	ErrMethod
	// ErrTarget: the target has none of the four forms, or one its method may not use (HC-1).
	ErrTarget
	// ErrScheme: an absolute-form target with a scheme other than http and https (RT-120).
	ErrScheme
	// ErrLowVersion: not HTTP/1.1, and not an HTTP/1.0 the options allow (HC-4).
	ErrLowVersion
	// ErrMissingHost: HTTP/1.1 without a host (HC-3).
	ErrMissingHost
	// ErrHost: more than one Host field, or a value that is no authority (HC-3).
	ErrHost
	// ErrStatusLine: a response that does not begin with HTTP/1.x SP three digits.
	ErrStatusLine
	// ErrFieldName: no colon, an empty name, or a byte that is no token, whitespace before the colon too (HC-8, HC-10).
	ErrFieldName
	// ErrFieldValue: a control byte or a bare CR (HC-6).
	ErrFieldValue
	// ErrFolding: a field line that starts with whitespace (HC-9).
	ErrFolding
	// ErrUnderscore: a name with an underscore under REJECT_REQUEST (HC-14).
	ErrUnderscore
	// ErrTooLarge: the head or the trailers exceed their bytes (HC-11, HC-13, HC-49).
	ErrTooLarge
	// ErrTooManyFields: the head or the trailers exceed their count (HC-12, HC-13, HC-49).
	ErrTooManyFields
	// ErrContentLength: not one plain decimal number (HC-23).
	ErrContentLength
	// ErrLengthAndChunked: both framings in one message (HC-20).
	ErrLengthAndChunked
	// ErrTransferEncoding: a coding other than exactly chunked (HC-21), or any on CONNECT (HC-28).
	ErrTransferEncoding
	// ErrTransferEncoding10: a transfer coding on an HTTP/1.0 message (HC-22).
	ErrTransferEncoding10
	// ErrConnectBody: CONNECT with a body length (HC-28).
	ErrConnectBody
	// ErrTransferEncodingNotAllowed: a transfer coding on a 1xx or 204 response (HC-45).
	ErrTransferEncodingNotAllowed
	// ErrContentLengthNotAllowed: a body length on a 1xx or 204 response (HC-45).
	ErrContentLengthNotAllowed
	// ErrUnaskedUpgrade: 101 in answer to a request that asked for no upgrade (UP-15).
	ErrUnaskedUpgrade
	// ErrConnectionHeader: Connection nominates too much or what it must not (HC-35).
	ErrConnectionHeader
	// ErrChunkSize: a chunk-size line that is not hexadecimal digits and CRLF (HC-24).
	ErrChunkSize
	// ErrChunkExtension: a control byte in the extensions, or too many bytes of them (HC-25).
	ErrChunkExtension
	// ErrChunkEnd: chunk data not followed by CRLF (HC-26).
	ErrChunkEnd
	// ErrTruncated: the connection ended before the message did (HC-50).
	ErrTruncated

	numErrs
)

type errText struct {
	detail  string
	explain string
	status  int
}

var errTexts = [numErrs]errText{
	OK:                            {"", "no error", 200},
	ErrRequestLine:                {"http1.codec_error", "the request line is not method, target and version with one space between", 400},
	ErrMethod:                     {"http1.codec_error", "the method is not a registered one (allow_custom_methods)", 400},
	ErrTarget:                     {"http1.invalid_url", "the request target has no form that its method allows", 400},
	ErrScheme:                     {"http1.invalid_scheme", "the scheme of the absolute target is neither http nor https", 400},
	ErrLowVersion:                 {"low_version", "the version is not HTTP/1.1 (accept_http_10)", 426},
	ErrMissingHost:                {"missing_host_header", "an HTTP/1.1 request must name its host", 400},
	ErrHost:                       {"http1.invalid_host", "the Host field is repeated or not a valid authority", 400},
	ErrStatusLine:                 {"http1.codec_error", "the response does not begin with a valid status line", 502},
	ErrFieldName:                  {"http1.codec_error", "a field line has no valid name followed by a colon", 400},
	ErrFieldValue:                 {"http1.invalid_characters", "a field line holds a control character or a bare CR", 400},
	ErrFolding:                    {"http1.codec_error", "a field line starts with whitespace (obsolete line folding)", 400},
	ErrUnderscore:                 {"http1.unexpected_underscore", "a field name has an underscore (headers_with_underscores_action)", 400},
	ErrTooLarge:                   {"http1.headers_too_large", "the head is larger than the limit", 431},
	ErrTooManyFields:              {"http1.too_many_headers", "the head has more fields than the limit", 431},
	ErrContentLength:              {"http1.codec_error", "Content-Length is not one plain decimal number", 400},
	ErrLengthAndChunked:           {"http1.content_length_and_chunked_not_allowed", "Content-Length and Transfer-Encoding are both present", 400},
	ErrTransferEncoding:           {"http1.invalid_transfer_encoding", "Transfer-Encoding is not exactly chunked", 501},
	ErrTransferEncoding10:         {"http1.transfer_encoding_not_allowed", "Transfer-Encoding on an HTTP/1.0 message", 400},
	ErrConnectBody:                {"http1.body_disallowed", "a CONNECT request cannot have a body", 400},
	ErrTransferEncodingNotAllowed: {"http1.transfer_encoding_not_allowed", "Transfer-Encoding on a response that has no body", 502},
	ErrContentLengthNotAllowed:    {"http1.content_length_not_allowed", "Content-Length on a response that has no body", 502},
	ErrUnaskedUpgrade:             {"http1.codec_error", "101 in answer to a request that asked for no upgrade", 502},
	ErrConnectionHeader:           {"http1.connection_header_rejected", "Connection nominates too many fields, or one it may not", 400},
	ErrChunkSize:                  {"http1.codec_error", "a chunk size is not plain hexadecimal ended by CRLF", 400},
	ErrChunkExtension:             {"http1.codec_error", "chunk extensions hold a control character or are too long", 400},
	ErrChunkEnd:                   {"http1.codec_error", "chunk data is not followed by CRLF", 400},
	ErrTruncated:                  {"http1.codec_error", "the connection ended in the middle of a message", 400},
}

// String returns Envoy's response code detail, "" for OK.
func (e Err) String() string { return errTexts[e].detail }

// Explain returns one sentence for people.
func (e Err) Explain() string { return errTexts[e].explain }

// Status returns the status of the local reply when a request is refused; an upstream response that
// is refused gives 502 whatever its Err.
func (e Err) Status() int { return errTexts[e].status }

// Body returns the text of that local reply: the phrase of its status.
func (e Err) Body() string { return ReasonPhrase(errTexts[e].status) }
