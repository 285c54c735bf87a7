package secure

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
)

// maxIterations bounds the work that an encrypted key may ask for.
const maxIterations = 10_000_000

var errPassword = errors.New("the password is wrong, or the key is damaged")

// decryptKey returns the DER form of a private key: as it is, or decrypted if the
// block says so. A line end after the password, as editors leave one, does not count.
func decryptKey(block *pem.Block, password []byte) ([]byte, error) {
	//lint:ignore SA1019 insecure by design, and in use
	legacy := x509.IsEncryptedPEMBlock(block)
	if block.Type != "ENCRYPTED PRIVATE KEY" && !legacy {
		return block.Bytes, nil
	}
	password = bytes.TrimRight(password, "\r\n")
	if len(password) == 0 {
		return nil, errors.New("is encrypted, and there is no password")
	}
	if legacy {
		//lint:ignore SA1019 as above
		der, err := x509.DecryptPEMBlock(block, password)
		if err != nil {
			return nil, errPassword
		}
		return der, nil
	}
	return decryptPKCS8(block.Bytes, password)
}

// Shapes of RFC 5958 section 3 and RFC 8018 appendix A.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2Params struct{ KDF, Cipher pkix.AlgorithmIdentifier }

	pbkdf2Params struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

var prfs = map[string]func() hash.Hash{
	"":                    sha1.New, // the default
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

var keyCiphers = map[string]struct {
	keyBytes int
	open     func([]byte) (cipher.Block, error)
}{
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
}

// decryptPKCS8 opens PBES2 with PBKDF2 and a block cipher in CBC mode: what openssl
// writes.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var e encryptedKey
	var scheme pbes2Params
	var kdf pbkdf2Params
	if _, err := asn1.Unmarshal(der, &e); err != nil {
		return nil, fmt.Errorf("encrypted key: %w", err)
	}
	if !e.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("is encrypted by %s; there is PBES2 only", e.Algorithm.Algorithm)
	}
	if _, err := asn1.Unmarshal(e.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, fmt.Errorf("encrypted key: %w", err)
	}
	if !scheme.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, fmt.Errorf("is encrypted with key derivation %s; there is PBKDF2 only", scheme.KDF.Algorithm)
	}
	if _, err := asn1.Unmarshal(scheme.KDF.Parameters.FullBytes, &kdf); err != nil {
		return nil, fmt.Errorf("encrypted key: %w", err)
	}
	var iv []byte
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, fmt.Errorf("encrypted key: %w", err)
	}
	prf, ok := prfs[kdf.PRF.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("is encrypted with key derivation by %s, which there is not", kdf.PRF.Algorithm)
	}
	c, ok := keyCiphers[scheme.Cipher.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("is encrypted by cipher %s, which there is not", scheme.Cipher.Algorithm)
	}
	if kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return nil, fmt.Errorf("encrypted key: %d iterations", kdf.Iterations)
	}
	key, err := pbkdf2.Key(prf, string(password), kdf.Salt, kdf.Iterations, c.keyBytes)
	if err != nil {
		return nil, err
	}
	block, err := c.open(key)
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(iv) != size || len(e.Data) == 0 || len(e.Data)%size != 0 {
		return nil, errors.New("encrypted key: no whole blocks")
	}
	plain := make([]byte, len(e.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, e.Data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > size || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errPassword
	}
	return plain[:len(plain)-pad], nil
}
