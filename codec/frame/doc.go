// Package frame is the codec model of the generic proxy: what a protocol of requests and responses has
// to tell so that its messages can be routed, matched to each other, counted and logged.
//
//	bytes of a client --Decoder.Next--> Frame: header | common | common, end
//	                                     route by it, forward its bytes
//	bytes of a server --Decoder.Next--> Frame: header, end
//	                                     find the request it answers, forward its bytes
//	no server to ask  --Codec.AppendReply--> bytes for the client
//
// A codec is a pure machine over bytes: no I/O, no clock, no buffer of what it has not consumed. Bytes
// travel as they came; a codec looks at them, and only rarely puts others in their place (Frame.Bytes).
// Whoever wants to add a protocol implements Codec and two Decoders; what else a protocol may have is in
// the optional interfaces Properties, Editor and Finisher.
//
// The packages beside this one (resp, thrift, memcache, dubbo, httpframe) are codecs; package frametest
// checks the promises of any codec. Open frame.go first.
package frame
