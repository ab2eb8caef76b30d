package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An authority and the certificates it signs, as the Python side asks for them on standard input.
type authority struct {
	Name         string        `json:"name"`
	Certificates []certificate `json:"certificates"`
}

type certificate struct {
	Name          string   `json:"name"` // of the files: NAME.crt and NAME.key
	CommonName    string   `json:"common_name"`
	Organizations []string `json:"organizations"`
	Hosts         []string `json:"hosts"` // names and addresses; empty for a client
}

const validity = 10 * 365 * 24 * time.Hour

// The cluster's certificates. Done here because this binary is there anyway and Python's standard
// library cannot sign a certificate.
func init() {
	programs["certificates"] = func() {
		if len(os.Args) != 2 {
			fmt.Fprintln(os.Stderr, "usage: kubernetes certificates FOLDER < AUTHORITIES.json")
			os.Exit(2)
		}
		if err := writeCertificates(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "certificates:", err)
			os.Exit(1)
		}
	}
}

func writeCertificates(folder string) error {
	var authorities []authority
	if err := json.NewDecoder(os.Stdin).Decode(&authorities); err != nil {
		return err
	}
	for _, each := range authorities {
		caKey, ca, err := sign(folder, certificate{Name: each.Name, CommonName: each.Name}, nil, nil)
		if err != nil {
			return err
		}
		for _, leaf := range each.Certificates {
			if _, _, err := sign(folder, leaf, ca, caKey); err != nil {
				return err
			}
		}
	}
	return writeServiceAccountKey(folder)
}

// sign writes NAME.crt and NAME.key; without an issuer the certificate is an authority of its own.
func sign(folder string, wanted certificate, issuer *x509.Certificate, issuerKey crypto.Signer) (crypto.Signer, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: wanted.CommonName, Organization: wanted.Organizations},
		NotBefore:             time.Now().Add(-time.Hour), // clocks of virtual machines jump
		NotAfter:              time.Now().Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if issuer == nil {
		issuer, issuerKey = template, key
		template.IsCA = true
		template.KeyUsage |= x509.KeyUsageCertSign
		template.ExtKeyUsage = nil
	}
	for _, host := range wanted.Hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, nil, err
	}
	if err := writePEM(filepath.Join(folder, wanted.Name+".crt"), "CERTIFICATE", der, 0o644); err != nil {
		return nil, nil, err
	}
	if err := writeKey(filepath.Join(folder, wanted.Name+".key"), key); err != nil {
		return nil, nil, err
	}
	signed, err := x509.ParseCertificate(der)
	return key, signed, err
}

func writeServiceAccountKey(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(filepath.Join(folder, "service-account.key"), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
