package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

const (
	// listenPatience is how long an address that is in use is tried again: a process that was killed gives its ports back a
	// moment later, and its supervisor may start the next one before that.
	listenPatience = 3 * time.Second
	listenAgain    = 100 * time.Millisecond
)

// Numbers that Windows gives these errors; package syscall has none for them.
const (
	errWSAAccess       = syscall.Errno(10013)
	errWSAInUse        = syscall.Errno(10048)
	errWSANotAvailable = syscall.Errno(10049)
)

// listening opens an address that a key of the configuration names. The error says which, and what to do.
func (p *process) listening(ctx context.Context, key, address string, listen func() error) error {
	err := listen()
	if inUse(err) {
		p.log.Info("the address is in use; trying again for a moment", "key", key, "address", address)
		err = again(ctx, listen)
	}
	if err != nil {
		return fmt.Errorf("%s: cannot listen on %s: %s", key, address, whyNot(err, key))
	}
	return nil
}

// again tries until the address is free, listenPatience is over, or ctx ends.
func again(ctx context.Context, listen func() error) error {
	over := time.NewTimer(listenPatience)
	defer over.Stop()
	tick := time.NewTicker(listenAgain)
	defer tick.Stop()
	for {
		err := listen()
		if !inUse(err) {
			return err
		}
		select {
		case <-tick.C:
		case <-over.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, errWSAInUse) }

// whyNot says why an address cannot be listened on, and what to do.
func whyNot(err error, key string) string {
	_, unknown := errors.AsType[*net.DNSError](err)
	switch {
	case inUse(err):
		return "another program uses it; stop that one, or set " + key + " to another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, errWSANotAvailable):
		return "this machine has no such address; set " + key + " to one that it has, for example 127.0.0.1"
	case errors.Is(err, syscall.EACCES) || errors.Is(err, errWSAAccess):
		return "this user may not open the port; set " + key + " to a port above 1023"
	case unknown:
		return "the name of the host is not known; set " + key + " to an address of this machine"
	}
	return err.Error() + "; set " + key + " to another address"
}

// free fails when an address that another part opens later cannot be listened on.
func (p *process) free(ctx context.Context, key, address string) error {
	return p.listening(ctx, key, address, func() error {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return listener.Close()
	})
}

// shownAddress is an address that is listened on, for people: all addresses of the machine are named as what they are.
func shownAddress(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		both := ""
		if tcp.IP.To4() == nil {
			both = ", IPv4 and IPv6"
		}
		return fmt.Sprintf("http://%s (all addresses of this machine%s)", tcp, both)
	}
	return "http://" + address.String()
}

// warnAtStart logs the warnings about the configuration that concern this process; keys are those it acts on.
func (p *process) warnAtStart(keys ...string) {
	for _, w := range p.cfg.Warnings {
		for _, key := range keys {
			if w.Key == key || w.Key == "" {
				p.log.Warn("configuration warning", "warning", strings.TrimSpace(w.String()))
				break
			}
		}
	}
}
