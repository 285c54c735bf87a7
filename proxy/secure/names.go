package secure

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/tls"
	"strconv"
)

// named is a number of the protocol and its name in BoringSSL, which statistics and
// logs have.
type named struct {
	id   uint16
	name string
}

// ciphers are the suites that crypto/tls knows.
var ciphers = []named{
	{tls.TLS_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"},
	{tls.TLS_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"},
	{tls.TLS_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "ECDHE-RSA-DES-CBC3-SHA"},
	{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "DES-CBC3-SHA"},
	{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, "ECDHE-ECDSA-RC4-SHA"},
	{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, "ECDHE-RSA-RC4-SHA"},
	{tls.TLS_RSA_WITH_RC4_128_SHA, "RC4-SHA"},
}

var versions = []named{
	{tls.VersionTLS10, "TLSv1"},
	{tls.VersionTLS11, "TLSv1.1"},
	{tls.VersionTLS12, "TLSv1.2"},
	{tls.VersionTLS13, "TLSv1.3"},
}

var curves = []named{
	{uint16(tls.CurveP256), "P-256"},
	{uint16(tls.CurveP384), "P-384"},
	{uint16(tls.CurveP521), "P-521"},
	{uint16(tls.X25519), "X25519"},
	{uint16(tls.X25519MLKEM768), "X25519MLKEM768"},
	{uint16(tls.SecP256r1MLKEM768), "SecP256r1MLKEM768"},
	{uint16(tls.SecP384r1MLKEM1024), "SecP384r1MLKEM1024"},
}

// sigalgs are those that a key leaves no choice about.
var sigalgs = []named{
	{uint16(tls.ECDSAWithP256AndSHA256), "ecdsa_secp256r1_sha256"},
	{uint16(tls.ECDSAWithP384AndSHA384), "ecdsa_secp384r1_sha384"},
	{uint16(tls.ECDSAWithP521AndSHA512), "ecdsa_secp521r1_sha512"},
	{uint16(tls.Ed25519), "ed25519"},
}

// index returns where id is in list, -1 if it is not.
func index(list []named, id uint16) int {
	for i := range list {
		if list[i].id == id {
			return i
		}
	}
	return -1
}

// nameOf returns the name of id, a number in hexadecimal digits if it has none.
func nameOf(list []named, id uint16) string {
	if i := index(list, id); i >= 0 {
		return list[i].name
	}
	return "0x" + strconv.FormatUint(uint64(id), 16)
}

func namesIn(list []named) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].name
	}
	return out
}

// CipherName returns BoringSSL's name of a cipher suite: ECDHE-RSA-AES128-GCM-SHA256.
func CipherName(id uint16) string { return nameOf(ciphers, id) }

// VersionName returns BoringSSL's name of a version: TLSv1.3.
func VersionName(id uint16) string { return nameOf(versions, id) }

// peerSignature returns what the peer signed the handshake with where its key and the
// version say so, else 0: with RSA the hash is the peer's choice, and crypto/tls does
// not tell it. Nothing is signed in a resumed handshake.
func peerSignature(st *tls.ConnectionState) uint16 {
	if st.DidResume || len(st.PeerCertificates) == 0 {
		return 0
	}
	switch key := st.PeerCertificates[0].PublicKey.(type) {
	case ed25519.PublicKey:
		return uint16(tls.Ed25519)
	case *ecdsa.PublicKey:
		if st.Version < tls.VersionTLS13 {
			return 0
		}
		switch key.Curve {
		case elliptic.P256():
			return uint16(tls.ECDSAWithP256AndSHA256)
		case elliptic.P384():
			return uint16(tls.ECDSAWithP384AndSHA384)
		case elliptic.P521():
			return uint16(tls.ECDSAWithP521AndSHA512)
		}
	}
	return 0
}

// keyExchangeByRSA says whether a suite encrypts to the server's RSA key.
func keyExchangeByRSA(suite uint16) bool {
	switch suite {
	case tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_RC4_128_SHA:
		return true
	}
	return false
}
