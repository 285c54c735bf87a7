package secure

import (
	"bytes"
	"crypto/tls"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// server returns a context with session tickets.
func ticketing(ids ...*pair) *conf.DownstreamTLS {
	c := &conf.DownstreamTLS{SessionTickets: true}
	for _, id := range ids {
		c.Certificates = append(c.Certificates, id.inline())
	}
	return c
}

// returning is a client that keeps sessions.
func returning(change ...func(*tls.Config)) *tls.Config {
	c := anyone(change...)
	c.ServerName = "a.test"
	c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return c
}

func resumed(t testing.TB, what string, d *Downstream, client *tls.Config, want bool) {
	t.Helper()
	o := shake(t, d.Config(), client)
	if o.clientErr != nil || o.serverErr != nil {
		t.Fatalf("%s: %v, %v", what, o.clientErr, o.serverErr)
	}
	if o.server.DidResume != want || o.client.DidResume != want {
		t.Errorf("%s: resumed is %v, want %v", what, o.server.DidResume, want)
	}
}

func eachVersion(t *testing.T, f func(t *testing.T, version func(*tls.Config))) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(VersionName(v), func(t *testing.T) { f(t, only(v)) })
	}
}

func TestSessionsResume(t *testing.T) {
	ca := authority(t, nil, "ca")
	eachVersion(t, func(t *testing.T, version func(*tls.Config)) {
		r := newRig(t)
		d := r.down(ticketing(leaf(t, ca, "a.test")))
		client := returning(version)
		resumed(t, "the first time", d, client, false)
		resumed(t, "the second time", d, client, true)
		resumed(t, "the third time", d, client, true)
		o := r.finish(d, shake(t, d.Config(), client))
		if !o.server.DidResume {
			t.Error("the fourth time: a full handshake")
		}
		r.want("session_reused", 1, "handshake", 1)

		c := ticketing(leaf(t, ca, "a.test"))
		c.SessionTickets = false
		d, client = r.down(c), returning(version)
		resumed(t, "no tickets, the first time", d, client, false)
		resumed(t, "no tickets, the second time", d, client, false)
	})
}

func TestSessionsEndWithTheTimeout(t *testing.T) {
	ca := authority(t, nil, "ca")
	eachVersion(t, func(t *testing.T, version func(*tls.Config)) {
		r := newRig(t)
		c := ticketing(leaf(t, ca, "a.test"))
		c.SessionTimeout = time.Minute
		d, client := r.down(c), returning(version)
		resumed(t, "the first time", d, client, false)
		r.pass(50 * time.Second)
		resumed(t, "within the timeout", d, client, true)
		r.pass(70 * time.Second)
		resumed(t, "after it", d, client, false)
	})
}

// Two processes with the same key file are two Managers here.
func TestProcessesWithTheSameTicketKeyResumeEachOthersSessions(t *testing.T) {
	ca := authority(t, nil, "ca")
	id, other := leaf(t, ca, "a.test"), leaf(t, ca, "b.test")
	one, two := bytes.Repeat([]byte{1}, 80), bytes.Repeat([]byte{2}, 80)
	keys := func(c *conf.DownstreamTLS, list ...[]byte) *conf.DownstreamTLS {
		for _, k := range list {
			c.TicketKeys = append(c.TicketKeys, conf.DataSource{Inline: k})
		}
		return c
	}
	requires := keys(ticketing(id), one)
	requires.RequireClientCertificate = true
	asksMore := keys(ticketing(id), one)
	asksMore.Validation = &conf.CertificateValidation{TrustedCA: ca.trust()}
	for _, row := range []struct {
		title string
		next  *conf.DownstreamTLS
		names []string
		want  bool
	}{
		{title: "the same", next: keys(ticketing(id), one), want: true},
		{title: "a renewed certificate", next: keys(ticketing(leaf(t, ca, "a.test")), one), want: true},
		{title: "the key is an old one already", next: keys(ticketing(id), two, one), want: true},
		{title: "another key", next: keys(ticketing(id), two)},
		{title: "keys of its own", next: ticketing(id)},
		{title: "another server", next: keys(ticketing(other), one)},
		{title: "another filter chain", next: keys(ticketing(id), one), names: []string{"a.test"}},
		{title: "one that wants to see a certificate", next: asksMore},
	} {
		t.Run(row.title, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version func(*tls.Config)) {
				client := returning(version)
				resumed(t, "the first process", newRig(t).down(keys(ticketing(id), one)), client, false)
				d, err := newRig(t).Downstream(row.next, "l", row.names)
				must(t, err)
				resumed(t, "the second process", d, client, row.want)
			})
		})
	}
	// A session without a certificate does not get in where one is required.
	client := returning(only(tls.VersionTLS12))
	resumed(t, "the first process", newRig(t).down(keys(ticketing(id), one)), client, false)
	failed(t, shake(t, newRig(t).down(requires).Config(), client).serverErr, "TLS_error:PEER_DID_NOT_RETURN_A_CERTIFICATE")
}

// What was true when the session began is asked again when it is resumed.
func TestResumedSessionsAreVerified(t *testing.T) {
	w := newWorld(t)
	eachVersion(t, func(t *testing.T, version func(*tls.Config)) {
		r := newRig(t)
		dir := t.TempDir()
		c := ticketing(w.server)
		c.RequireClientCertificate = true
		c.Validation = &conf.CertificateValidation{TrustedCA: w.root.trust(), CRL: conf.DataSource{File: dir + "/crl.pem"}}
		write(t, dir+"/crl.pem", w.root.crl(t, time.Now().Add(time.Hour)))
		d, client := r.down(c), returning(version, presents(w.revoked))
		resumed(t, "the first time", d, client, false)
		resumed(t, "the second time", d, client, true)
		o := shake(t, d.Config(), client)
		if len(o.server.PeerCertificates) == 0 || !d.Validated(&o.server) {
			t.Error("a resumed session has no certificate")
		}
		write(t, dir+"/crl.pem", w.root.crl(t, time.Now().Add(time.Hour), w.revoked))
		eventually(t, "the list is read", func() bool {
			return r.counter("listener.127.0.0.1_443.server_ssl_socket_factory.ssl_context_update_by_sds") == 1
		})
		failed(t, shake(t, d.Config(), client).serverErr, "TLS_error:CERTIFICATE_VERIFY_FAILED:certificate_revoked")
	})
}

func TestTicketKeysAreReadAgain(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	one, two := bytes.Repeat([]byte{1}, 80), bytes.Repeat([]byte{2}, 80)
	write(t, dir+"/key", one)
	id := leaf(t, ca, "a.test")
	c := ticketing(id)
	c.TicketKeys = []conf.DataSource{{File: dir + "/key"}}
	r := newRig(t)
	d, client := r.down(c), returning()
	resumed(t, "the first time", d, client, false)
	resumed(t, "the second time", d, client, true)
	updates := func() int {
		return r.counter("listener.127.0.0.1_443.server_ssl_socket_factory.ssl_context_update_by_sds")
	}
	write(t, dir+"/key", two)
	eventually(t, "the key is read", func() bool { return updates() == 1 })
	resumed(t, "with another key", d, client, false)
	resumed(t, "and again", d, client, true)
}
