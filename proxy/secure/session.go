package secure

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	sessionIDBytes = 16
	// ticketKeyBytes is the length of a configured key, Envoy's and OpenSSL's: 16 bytes of
	// name, 32 for HMAC, 32 for AES.
	ticketKeyBytes = 80
)

// CheckTicketKey says what is wrong with a session ticket key.
func CheckTicketKey(key []byte) error {
	if len(key) != ticketKeyBytes {
		return fmt.Errorf("a session ticket key has %d bytes, this has %d", ticketKeyBytes, len(key))
	}
	return nil
}

// ticketKeys reads the configured keys, nil for none. crypto/tls takes 32 bytes and
// makes keys of its own from them, so each is derived from all 80: processes that have
// the same file resume each other's sessions, but no other server's.
func ticketKeys(list []conf.DataSource, m *material) ([][32]byte, error) {
	var out [][32]byte
	for i := range list {
		raw, err := m.bytes(&list[i])
		if err == nil {
			err = CheckTicketKey(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		key, err := hkdf.Key(sha256.New, raw, nil, "sluice session ticket key", 32)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		out = append(out, [32]byte(key))
	}
	return out, nil
}

// sessionID is what must be the same for a session to be resumed, though the ticket's
// key is right: with a shared key it may come from another filter chain or process,
// which asked less of the client. Renewed certificates for the same names keep it.
func (s *server) sessionID(m *material) (id [sessionIDBytes]byte) {
	c := s.d.conf
	h := sha256.New()
	for _, i := range s.chosen.all {
		names := slices.Clone(i.facts.DNS)
		if len(names) == 0 {
			names = append(names, i.leaf().Subject.CommonName)
		}
		slices.Sort(names)
		fmt.Fprintf(h, "%q %x\n", names, i.leaf().RawIssuer)
	}
	fmt.Fprintf(h, "%q %v\n", s.d.names, c.RequireClientCertificate)
	if c.Validation != nil {
		v := *c.Validation
		ca, _ := m.bytes(&v.TrustedCA) // newVerifier had it
		v.TrustedCA, v.CRL = conf.DataSource{}, conf.DataSource{}
		fmt.Fprintf(h, "%+v %x\n", v, sha256.Sum256(ca))
	}
	copy(id[:], h.Sum(nil))
	return id
}

// sessionTag begins what we leave in a session.
var sessionTag = []byte("sluice1")

// wrap makes a ticket. On the handshake's goroutine.
//
//	Extra: | "sluice1" | session id (16) | seconds since 1970 (8) |
func (s *server) wrap(st tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
	extra := append(bytes.Clone(sessionTag), s.session[:]...)
	extra = binary.BigEndian.AppendUint64(extra, uint64(s.d.now().Unix()))
	session.Extra = append(session.Extra, extra)
	return s.d.config.EncryptTicket(st, session)
}

// unwrap opens a ticket; nil, and so a full handshake, when it is not for this context
// or older than session_timeout.
func (s *server) unwrap(ticket []byte, st tls.ConnectionState) (*tls.SessionState, error) {
	session, err := s.d.config.DecryptTicket(ticket, st)
	if err != nil || session == nil {
		return nil, err
	}
	for _, extra := range session.Extra {
		rest, ours := bytes.CutPrefix(extra, sessionTag)
		if !ours || len(rest) != sessionIDBytes+8 || !bytes.Equal(rest[:sessionIDBytes], s.session[:]) {
			continue
		}
		made := time.Unix(int64(binary.BigEndian.Uint64(rest[sessionIDBytes:])), 0)
		if limit := s.d.conf.SessionTimeout; limit > 0 && s.d.now().Sub(made) >= limit {
			continue
		}
		return session, nil
	}
	return nil, nil
}
