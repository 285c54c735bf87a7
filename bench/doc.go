// Package bench is a load generator for HTTP/1 and plain TCP proxies.
//
// A [Load] runs on one thread with an epoll loop of its own, so that on a small machine the load side
// takes less of its CPU than the proxy under test takes of its own: requests are bytes made once,
// response bodies are dropped in the kernel (MSG_TRUNC), and nothing is allocated per request. Besides
// HTTP/1 there are two kinds of plain TCP: ping-pong, one message in flight on each connection, and a sink
// that drops what an endless source sends. HTTP/1 over TLS has a goroutine for each connection instead
// ([Load].TLS): it is for handshakes, whose cost is the same whoever asks for them.
//
// Two shapes of load:
//
//   - closed loop (Rate 0): every connection sends its next request when the response to the last one is
//     complete. It finds the capacity and the cost of a proxy. Its latencies are those of a saturated
//     system, and a stall delays requests that are then never counted (coordinated omission).
//   - open loop (Rate > 0): requests are due at fixed times whatever the proxy does, and latency counts
//     from the time a request was due, not from when a free connection was found. A proxy that stops for
//     a second shows a second.
//
// [Hold] opens idle keep-alive connections and [SlowRead] is one stubborn client; both are for measuring
// memory. The package must not know which proxy it talks to, and imports neither the engine nor the codec:
// it also serves as their independent check. Start reading at load.go, then loop_linux.go.
package bench
