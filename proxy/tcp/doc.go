// Package tcp is the TCP proxy filter (tcp_proxy.md): one session for each downstream connection.
//
//	Serve -> (first byte, if the mode waits for it) -> cluster -> host -> connection -> relay -> log
//	          early data waits kept in the engine       |         |        retry, back-off
//	          up to max_early_data_bytes                |         NoHealthyHost
//	                                                    on-demand lookup, or NoCluster
//
// Once both ends are connected engine/relay moves the bytes; the session only hears of its pauses and
// its end. Bytes are counted when statistics are read, not as they move.
//
// Start reading at session.go. The package must not know what the bytes mean.
package tcp
