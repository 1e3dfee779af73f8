// Package natstest runs a real NATS server with JetStream inside a test process.
package natstest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options are what tests vary.
type Options struct {
	User, Password string
	Dir            string      // of the streams; "" = a temporary one
	Port           int         // 0 = any
	MaxStore       int64       // bytes of file streams; 0 = 1 GiB
	MaxPayload     int32       // bytes of a message; 0 = 1 MiB
	TLS            *tls.Config // asked of every connection; nil = none
	Refuse         func()      // called for each connection, which is then refused; nil = those with User and Password pass
}

// refuser refuses every connection.
type refuser func()

// Check is what the server asks.
func (r refuser) Check(server.ClientAuthentication) bool {
	r()
	return false
}

// Server is a NATS server that can be stopped and started again on its port.
type Server struct {
	tb      testing.TB
	options Options
	ns      *server.Server // nil while it is stopped
}

// Start runs a server that listens on loopback until the test ends, which must not happen while the test is in
// one of its methods.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s := &Server{tb: tb, options: o}
	tb.Cleanup(s.Stop)
	s.run(o)
	if addr, ok := s.ns.Addr().(*net.TCPAddr); ok {
		s.options.Port = addr.Port
	}
	return s
}

// Addr is where it listens, or has listened.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.options.Port)) }

// URL is what clients connect to.
func (s *Server) URL() string { return "nats://" + s.Addr() }

// Stop ends the server and waits until it has ended.
func (s *Server) Stop() {
	if s.ns != nil {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
		s.ns = nil
	}
}

// Restart starts the server again with a copy of its options, to which change, if not nil, is applied.
func (s *Server) Restart(change func(*Options)) {
	s.tb.Helper()
	s.Stop()
	o := s.options
	if change != nil {
		change(&o)
	}
	s.run(o)
}

func (s *Server) run(o Options) {
	s.tb.Helper()
	options := &server.Options{
		Host: "127.0.0.1", Port: o.Port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: o.Dir,
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: cmp.Or(o.MaxStore, 1<<30), Username: o.User, Password: o.Password,
		TLS: o.TLS != nil, TLSConfig: o.TLS, TLSTimeout: 5, MaxPayload: o.MaxPayload,
	}
	if o.Refuse != nil {
		options.CustomClientAuthentication = refuser(o.Refuse)
	}
	ns, err := server.NewServer(options)
	if err != nil {
		s.tb.Fatal(err)
	}
	ns.Start()
	s.ns = ns
	if !ns.ReadyForConnections(10 * time.Second) {
		s.tb.Fatal("the NATS server did not start")
	}
}

// Certificate makes a certificate for loopback, which is its own authority, and gives the path of its PEM file.
func Certificate(tb testing.TB) (config *tls.Config, file string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "natstest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	file = filepath.Join(tb.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}, file
}
