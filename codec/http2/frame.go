package http2

import "encoding/binary"

// frameType is a frame's type (RFC 9113 6).
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameReset        frameType = 0x3
	frameSettings     frameType = 0x4
	framePush         frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindow       frameType = 0x8
	frameContinuation frameType = 0x9
)

// Flags; which of them a type has is in its section of RFC 9113 6.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	frameHeaderLen = 9
	// maxFrame is the largest payload we accept: SETTINGS_MAX_FRAME_SIZE is left at its default (HC-61).
	// It is also the largest we send, whatever the peer would take: larger frames only delay other streams.
	maxFrame    = 16384
	maxWindow   = 1<<31 - 1
	maxStreamID = 1<<31 - 1
)

// Preface is what a client sends first (RFC 9113 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frame is a frame header (RFC 9113 4.1).
//
//	| length 24 | type 8 | flags 8 | R 1 | stream 31 | payload...
type frame struct {
	length uint32
	stream uint32
	typ    frameType
	flags  uint8
}

// parseFrame reads the header at the front of b, which has nine bytes at least.
func parseFrame(b []byte) frame {
	v := binary.BigEndian.Uint64(b)
	return frame{
		length: uint32(v >> 40), typ: frameType(v >> 32), flags: uint8(v >> 24),
		stream: (uint32(v)<<8 | uint32(b[8])) & maxStreamID,
	}
}

func appendFrame(dst []byte, length int, typ frameType, flags uint8, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(typ), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// setLength writes the length of the frame whose header is at b[at].
func setLength(b []byte, at, length int) {
	b[at], b[at+1], b[at+2] = byte(length>>16), byte(length>>8), byte(length)
}

// Identifiers of settings (RFC 9113 6.5.2, RFC 8441 3).
const (
	settingTableSize       = 0x1
	settingPush            = 0x2
	settingMaxStreams      = 0x3
	settingInitialWindow   = 0x4
	settingMaxFrame        = 0x5
	settingConnectProtocol = 0x8
)

func appendSetting(dst []byte, id uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, id), v)
}

// ErrCode is an error code as it goes over the wire (RFC 9113 7).
type ErrCode uint32

// The codes.
const (
	NoError            ErrCode = 0x0
	ProtocolError      ErrCode = 0x1
	InternalError      ErrCode = 0x2
	FlowControlError   ErrCode = 0x3
	SettingsTimeout    ErrCode = 0x4
	StreamClosed       ErrCode = 0x5
	FrameSizeError     ErrCode = 0x6
	RefusedStream      ErrCode = 0x7
	Cancel             ErrCode = 0x8
	CompressionError   ErrCode = 0x9
	ConnectError       ErrCode = 0xa
	EnhanceYourCalm    ErrCode = 0xb
	InadequateSecurity ErrCode = 0xc
	HTTP11Required     ErrCode = 0xd
)

var codeNames = [...]string{
	NoError: "NO_ERROR", ProtocolError: "PROTOCOL_ERROR", InternalError: "INTERNAL_ERROR", FlowControlError: "FLOW_CONTROL_ERROR",
	SettingsTimeout: "SETTINGS_TIMEOUT", StreamClosed: "STREAM_CLOSED", FrameSizeError: "FRAME_SIZE_ERROR",
	RefusedStream: "REFUSED_STREAM", Cancel: "CANCEL", CompressionError: "COMPRESSION_ERROR", ConnectError: "CONNECT_ERROR",
	EnhanceYourCalm: "ENHANCE_YOUR_CALM", InadequateSecurity: "INADEQUATE_SECURITY", HTTP11Required: "HTTP_1_1_REQUIRED",
}

// String returns the name in the RFC; unknown codes read UNKNOWN.
func (c ErrCode) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "UNKNOWN"
}
