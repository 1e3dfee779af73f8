package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"headrace/internal/fault"
)

// isDial tells errors of connecting: nothing was sent.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// failed turns the failure of a call into the error for its caller.
//
// A reply that breaks off is UpstreamUnavailable, not a bad response: a process that died while it answered
// is the usual reason, and another attempt may well succeed.
func failed(ctx context.Context, r *replica, err error) error {
	if ctx.Err() != nil {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return context.Cause(ctx)
		}
		return fault.Wrap(fault.UpstreamTimeout, err,
			"the model server %s did not answer in time; send less at a time, or raise the route's timeout", r.shown)
	}
	switch {
	case isDial(err):
		return fault.Wrap(fault.UpstreamUnavailable, err,
			"the model server %s cannot be reached: %s; check that it runs and that its address in the configuration is right", r.shown, plainly(err))
	case isTLS(err):
		return fault.Wrap(fault.UpstreamUnavailable, err,
			"no secure connection to the model server %s: %s; check its certificate, tls_ca and the scheme of its address", r.shown, err)
	case isHangUp(err):
		hint := ""
		if r.url.Scheme == "https" {
			hint = "; if it does not speak TLS, change the scheme of its address"
		}
		return fault.Wrap(fault.UpstreamUnavailable, err, "the model server %s closed the connection before its answer was complete; "+
			"its log may say why, it may have run out of memory%s", r.shown, hint)
	case isNotHTTP(err):
		return fault.Wrap(fault.UpstreamBadResponse, err,
			"what answers at %s does not speak HTTP; check its address in the configuration", r.shown)
	}
	return fault.Wrap(fault.UpstreamUnavailable, err, "the call to the model server %s failed; check that it runs and that its address in the configuration is right", r.shown)
}

// plainly says why connecting failed, without the address, which the message has already.
func plainly(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "its name " + dns.Name + " is not known"
	}
	switch timeout, ok := errors.AsType[net.Error](err); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case ok && timeout.Timeout():
		return "connecting took longer than connect_timeout"
	}
	return "connecting failed"
}

func isHangUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

func isTLS(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	return verification || record || alert || unknown ||
		strings.Contains(err.Error(), "TLS handshake") || strings.Contains(err.Error(), "HTTP response to HTTPS client")
}

// isNotHTTP tells errors of net/http's parser, which have no type.
func isNotHTTP(err error) bool {
	text := err.Error()
	for _, sign := range []string{"malformed", "bad Content-Length", "chunk", "transfer encoding", "response headers exceeded", "unsupported", "too long"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
