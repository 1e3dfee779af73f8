package dashboard

import (
	"context"
	"iter"
	"net/http"
	"time"

	"headrace/api/dashboard/recent"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Routes tells of the routes that are served.
type Routes interface {
	// Table is what callers see now.
	Table() *inference.Table
	// State tells how a route fares.
	State(route string) inference.RouteState
	// Ready is nil while the front end can serve.
	Ready() error
}

// Calls is what a front end remembers.
type Calls interface {
	// Newest yields the calls that are remembered, the latest first.
	Newest() iter.Seq[recent.Call]
	// LastSeconds and LastMinutes are the figures, the oldest first.
	LastSeconds(now time.Time) []recent.Point
	LastMinutes(now time.Time) []recent.Point
}

// Jobs reads and changes jobs. Errors are *fault.Error.
type Jobs interface {
	Get(ctx context.Context, id job.ID) (*job.Record, error)
	Cancel(ctx context.Context, id job.ID) (*job.Record, error)
	Retry(ctx context.Context, id job.ID) (*job.Record, error)
	Erase(ctx context.Context, id job.ID) error
}

// Bodies reads what jobs were asked with and what came of it. Errors are *fault.Error.
type Bodies interface {
	Input(ctx context.Context, rec *job.Record) ([]byte, error)
	Result(ctx context.Context, rec *job.Record) (*inference.Result, error)
}

// Queues tells of the queues that jobs wait in, and holds them up.
type Queues interface {
	Queue(route string) map[job.Priority]job.Lane
	Place(ctx context.Context, rec *job.Record) (p job.Place, ok bool)
	Pause(ctx context.Context, route string, paused bool) error
	Paused(route string) bool
}

// Finder finds jobs. Errors are *fault.Error.
type Finder interface {
	// Page gives the ids of jobs, the newest first, and whether there are more.
	Page(ctx context.Context, f job.Filter) (ids []job.ID, more bool, err error)
}

// Guard decides who may see the pages.
type Guard interface {
	// AdmitBrowser is nil for a request that may, else why not.
	AdmitBrowser(r *http.Request) error
	// Login gives the cookie for a token; Logout gives the one that ends a login.
	Login(token string) (*http.Cookie, error)
	Logout() *http.Cookie
	// Known reports whether there is a token to log in with.
	Known() bool
}

// Disk tells how many bytes jobs take and may take in the broker's store; ok is false where this process does not know.
type Disk func() (held, limit int64, ok bool)
