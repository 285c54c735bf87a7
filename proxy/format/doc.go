// Package format compiles Envoy's format strings, "%REQ(:METHOD)% %RESPONSE_CODE%", and writes what
// they say about a stream: access-log lines, added headers, local reply bodies (operations.md 5).
//
//	"[%START_TIME%] %REQ(X?Y):8%\n"  ->  "[" START_TIME "] " REQ "\n"   a list of ops, walked per line
//
// A compiled format is immutable and shared by all loops; appending to a large enough slice does
// not allocate. Everything comes from the streaminfo.Info of the stream; the package knows nothing
// of files, connections or routes. Open format.go first, operators.go for the list of operators.
package format
