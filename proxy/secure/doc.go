// Package secure compiles TLS contexts (DownstreamTlsContext, UpstreamTlsContext) for
// crypto/tls, keeps them current when their files change, and says what TLS found out
// about a connection.
//
//	conf.DownstreamTLS --+                      +--> Downstream.Config  (one for good)
//	conf.UpstreamTLS   --+--> Manager --build---+--> Upstream.ConfigFor (cached)
//	files --changed----------^                  +--> Certificates (/certs)
//
// A context is built from all its files at once and swapped in whole: a handshake sees
// one version of it. Files that do not make a context change nothing but a counter and
// the log. Connections never notice.
//
// Three kinds of goroutines meet here:
//   - the control plane makes and releases contexts, a goroutine of the Manager follows
//     the files: under its lock;
//   - handshakes call back to choose and verify certificates, off the loops: they read
//     a version through an atomic pointer and count with atomics;
//   - loops ask for a Config before a handshake and count at its end (Stats.Finished).
//
// Verification is our own in all cases, by VerifyConnection, so that it also judges
// resumed sessions: crypto/tls's own would neither know pins, matchers and revocation
// lists nor notice changed files.
//
// Where this differs from Envoy:
//   - the context holds for resumed sessions too; Envoy does not look at their
//     certificates again;
//   - cipher suites and curves are sets: crypto/tls has its own order;
//   - a configured ticket key is expanded in another way: its tickets are only for
//     other processes of this proxy;
//   - a certificate's name matches with "*" as its whole first label only, not as a
//     part of one;
//   - crypto/tls does not tell the session's ID, and the peer's signature algorithm
//     only shows where its key leaves no choice (ssl.sigalgs).
//
// Start reading at manager.go, then downstream.go and upstream.go.
package secure
