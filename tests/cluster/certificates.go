// The certificates and keys of a new cluster, all P-256.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

const validity = 10 * 365 * 24 * time.Hour

// newCertificates makes the CA, whose key is thrown away, the certificates
// that it signs, the API server's and a client's, and the key of service
// account tokens.
func (s *state) newCertificates() error {
	caKey, _, err := newKey()
	if err != nil {
		return err
	}
	servingKey, servingKeyPEM, err := newKey()
	if err != nil {
		return err
	}
	clientKey, clientKeyPEM, err := newKey()
	if err != nil {
		return err
	}
	_, serviceAccountKeyPEM, err := newKey()
	if err != nil {
		return err
	}

	ca := certificate(1, "fleet-webhook test CA")
	ca.IsCA = true
	ca.BasicConstraintsValid = true
	ca.KeyUsage = x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}

	serving := certificate(2, "kube-apiserver")
	serving.KeyUsage = x509.KeyUsageDigitalSignature
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	serving.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, ca, servingKey.Public(), caKey)
	if err != nil {
		return err
	}

	client := certificate(3, "fleet-webhook")
	client.Subject.Organization = []string{"fleet-webhook"}
	client.KeyUsage = x509.KeyUsageDigitalSignature
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	clientDER, err := x509.CreateCertificate(rand.Reader, client, ca, clientKey.Public(), caKey)
	if err != nil {
		return err
	}

	s.CA = armor("CERTIFICATE", caDER)
	s.ServingCert = armor("CERTIFICATE", servingDER)
	s.ServingKey = servingKeyPEM
	s.ClientCert = armor("CERTIFICATE", clientDER)
	s.ClientKey = clientKeyPEM
	s.ServiceAccountKey = serviceAccountKeyPEM
	return nil
}

func certificate(serial int64, name string) *x509.Certificate {
	// An hour back, for clocks that disagree.
	start := time.Now().Add(-time.Hour)
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    start,
		NotAfter:     start.Add(validity),
	}
}

func newKey() (*ecdsa.PrivateKey, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	return key, armor("EC PRIVATE KEY", der), nil
}

func armor(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
