package target

import (
	"context"
	"net/http"
	"sync"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
)

// forms is what is known of how the replicas of one model server want to be asked.
type forms struct {
	mu     sync.Mutex
	known  map[string]string // by replica, as Reply.Server names it
	probed bool              // the model server was probed
	probe  *probe            // the one that runs; nil: none does
}

// probe is one that several calls wait for.
type probe struct {
	done  chan struct{}
	found bool
	err   error
	left  bool // the caller that made it has gone: it says nothing to others
}

func newForms() *forms { return &forms{known: make(map[string]string)} }

// of is the form of a replica; "" while it is not known.
func (f *forms) of(server string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[server]
}

func (f *forms) learn(server, form string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[server] = form
}

// any is a form that fits, of any replica: all of them mostly serve one model, and one that does not says so.
func (f *forms) any(fits func(form string) bool) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, form := range f.known {
		if fits(form) {
			return form, true
		}
	}
	return "", false
}

// toProbe gives the probe to make (mine), or the one to wait for; nil when the model server was probed before.
func (f *forms) toProbe() (p *probe, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.probed || f.probe != nil {
		return f.probe, false
	}
	f.probe = &probe{done: make(chan struct{})}
	return f.probe, true
}

// ended takes the end of a probe. said: the model server has answered it, and is not asked again.
func (f *forms) ended(p *probe, said bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed, f.probe = said, nil
	close(p.done)
}

// told says that the model server has answered a probe, so that another one finds out no more.
func (f *forms) told() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.probed
}

// form is how the target is asked next, and whether that is known rather than supposed.
func (t *Target) form() (form string, known bool) {
	form, _, settled := t.former.Form(t.Route)
	if learned, ok := t.forms.any(func(f string) bool { return t.former.Fits(t.Route, f) }); ok {
		return learned, true
	}
	return form, settled
}

// Native says that the target is known to be asked in another form than rows, which share calls.
func (t *Target) Native() bool {
	if t.former == nil {
		return false
	}
	form, known := t.form()
	rows, _, _ := t.former.Form(&inference.Route{})
	return known && form != rows
}

// Ask makes the call of one request, in the form that the model server wants. A refusal that names another form comes
// before the model runs, so the request is asked again in that one.
func (t *Target) Ask(ctx context.Context, req *inference.Request) (provider.Reply, func(), error) {
	if t.former == nil {
		call, err := t.Provider.Encode(t.Route, req)
		if err != nil {
			return provider.Reply{}, nil, err
		}
		return t.send(ctx, call, req.Once)
	}
	if _, probe, _ := t.former.Form(t.Route); probe {
		if _, err := t.recognise(ctx); err != nil {
			return provider.Reply{}, nil, err
		}
	}
	form, known := t.form()
	call, err := t.former.EncodeAs(t.Route, req, form)
	if err != nil {
		// What this form cannot say another may: it is worth to know, before the caller is told.
		if known {
			return provider.Reply{}, nil, err
		}
		found, unknown := t.recognise(ctx)
		if unknown == nil && !found && !t.forms.told() {
			unknown = fault.New(fault.UpstreamUnavailable, "the model server is not ready to say in which form it wants to be asked; try again")
		}
		if unknown != nil {
			return provider.Reply{}, nil, unknown
		}
		if !found {
			return provider.Reply{}, nil, err
		}
		form, _ = t.form()
		if call, err = t.former.EncodeAs(t.Route, req, form); err != nil {
			return provider.Reply{}, nil, err
		}
	}
	return t.insist(ctx, req, call, form)
}

// mostForms is how often one request is asked in another form.
const mostForms = 2

// insist sends a call, and sends it again in the form that a refusal names.
func (t *Target) insist(ctx context.Context, req *inference.Request, call provider.Call, form string) (provider.Reply, func(), error) {
	for again := 0; ; again++ {
		reply, release, err := t.send(ctx, call, req.Once)
		if err != nil {
			return reply, release, err
		}
		reply.Form, reply.Dropped = form, call.Dropped
		if reply.Status < 300 {
			t.forms.learn(reply.Server, form)
			return reply, release, nil
		}
		next, ok := t.next(ctx, reply)
		if !ok || again >= mostForms {
			return reply, release, nil
		}
		renewed, err := t.former.EncodeAs(t.Route, req, next)
		if err != nil {
			release()
			return provider.Reply{}, nil, err
		}
		renewed.Server = reply.Server
		release()
		call, form = renewed, next
	}
}

// next is the form in which to ask again after a reply.
func (t *Target) next(ctx context.Context, reply provider.Reply) (string, bool) {
	_, _, settled := t.former.Form(t.Route)
	wanted, refused := t.former.Wanted(reply)
	if wanted != "" {
		if wanted == reply.Form || settled && !t.former.Fits(t.Route, wanted) {
			return "", false
		}
		t.forms.learn(reply.Server, wanted)
		return wanted, t.former.Fits(t.Route, wanted)
	}
	if settled || t.forms.of(reply.Server) != "" || !refused {
		return "", false
	}
	if found, err := t.recognise(ctx); err != nil || !found {
		return "", false
	}
	form, known := t.form()
	return form, known && form != reply.Form
}

// recognise probes the model server, once: a model without a signature runs with what it is sent. Calls that come while it runs
// wait for it. found says that it told its form now.
func (t *Target) recognise(ctx context.Context) (found bool, err error) {
	for {
		p, mine := t.forms.toProbe()
		switch {
		case p == nil:
			_, known := t.form() // the probe may have ended since it was missed
			return known, nil
		case mine:
			var said bool
			p.found, said, p.err = t.askForm(ctx)
			p.left = ctx.Err() != nil
			t.forms.ended(p, said)
			return p.found, p.err
		}
		select {
		case <-p.done:
			if !p.left {
				return p.found, p.err
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// askForm sends a probe. said: the model server itself has answered it, not a proxy before it, nor one that has no time.
func (t *Target) askForm(ctx context.Context) (found, said bool, err error) {
	said = true
	for _, call := range t.former.Probe() {
		reply, release, err := t.send(ctx, call, true)
		if err != nil {
			return false, false, err
		}
		wanted, _ := t.former.Wanted(reply)
		release()
		if wanted != "" {
			t.forms.learn(reply.Server, wanted)
			return true, true, nil
		}
		switch reply.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			said = false
		}
	}
	return false, said, nil
}

func (t *Target) send(ctx context.Context, call provider.Call, once bool) (provider.Reply, func(), error) {
	call.Once = once
	return t.Upstream.Do(ctx, call, t.Route.MaxReply)
}
