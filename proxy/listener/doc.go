// Package listener is what a connection meets first: it looks at its first bytes, chooses a filter
// chain, runs the network filters and hands the connection to the chain's terminal filter.
//
//	accept -> listener filters -> filter chain match -> network filters -> Terminal
//	          PROXY header         TCP-80                 sni_cluster,       hcm.Acceptor (HTTP)
//	          ClientHello, HTTP                           rbac, limits, ...  tcp.Acceptor (TCP)
//
// A connection that needs no listener filter goes through all of it within accept, without an object
// of its own here; one that does waits in a front until enough bytes have come.
//
// Start reading at acceptor.go. The package must not know what terminal filters do with bytes.
package listener
