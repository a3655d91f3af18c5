package httpcall

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is how hosts prove who they are, and this engine to them.
type TLS struct {
	CA                 string `json:"ca,omitempty" doc:"File with the certificates, in PEM, of the authorities that are trusted instead of the system's."`
	Cert               string `json:"cert,omitempty" doc:"File with the certificate that is shown to hosts that ask for one, in PEM."`
	Key                string `json:"key,omitempty" doc:"File with its key."`
	MinVersion         string `json:"min_version,omitempty" enum:"1.2,1.3" doc:"Default: 1.2."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify,omitempty" doc:"Believe every host. Anybody on the way can read and change everything."`
}

// config reads the files. A certificate of the engine's own is read again for
// each connection, since such ones are renewed often.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return c, nil
	}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	c.InsecureSkipVerify = t.InsecureSkipVerify
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca: there is no certificate in %s", t.CA)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("cert and key go together")
	}
	if t.Cert == "" {
		return c, nil
	}
	if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		return &pair, err
	}
	return c, nil
}
