// Package joblist lists jobs: it keeps what their records say in an SQL file that can be searched. The file is a projection of
// the records: it may be removed at any time, and is then rebuilt from them. Begin with List.
package joblist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"

	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// writeEvery is how often new entries are written: a job that ends within that time is written once.
	writeEvery = 250 * time.Millisecond
	// maxPending is how many entries are held before they are written.
	maxPending = 4096
	// cleanEvery is how often jobs are dropped whose results have expired.
	cleanEvery = time.Minute
	// catchUp bounds how long a list waits for entries that were written before it was requested.
	catchUp = time.Second
	// searchPatience bounds one search.
	searchPatience = 10 * time.Second
	// What SQLite says of a corrupt file: https://www.sqlite.org/rescode.html.
	corrupt, notDatabase  = 11, 26
	inputOutput, diskFull = 10, 13
	busy                  = 5
	// busyTries, with a pause after each, is how often a file is opened that another front end makes at the moment.
	busyTries = 100
	busyPause = 50 * time.Millisecond
)

// Source knows what is written of jobs.
type Source interface {
	// Written is the number of the last record written, by shard.
	Written(ctx context.Context) (map[string]uint64, error)
}

// List is the projection. New makes it, Run keeps it, and the follower of the records feeds it.
type List struct {
	path   string
	log    *slog.Logger
	source Source
	ready  chan struct{}

	writing sync.Mutex // one writer at a time; also guards db against being replaced
	db      *sql.DB

	mu        sync.Mutex
	pending   map[job.ID]job.Entry
	positions map[string]position // by shard
	missing   map[string]uint64   // by shard: a number that was awaited in vain
	news      chan struct{}       // closed and replaced when something was seen
}

// position is how far a shard was followed.
type position struct {
	stream string // that the number is of
	seen   uint64
	at     time.Time // when that number was written
}

// New returns a list in the file at path, whose folder is made. The file belongs to the list.
func New(path string, source Source, log *slog.Logger) (*List, error) {
	if path == "" {
		return nil, errors.New("joblist: the file has no name")
	}
	return &List{
		path: path, log: log, source: source, ready: make(chan struct{}), pending: make(map[job.ID]job.Entry),
		positions: make(map[string]position), missing: make(map[string]uint64), news: make(chan struct{}),
	}, nil
}

// Run opens the file and writes to it until ctx ends. It replaces a file that it cannot use; when it cannot make one, it
// keeps the list in memory and logs a warning.
func (l *List) Run(ctx context.Context) error {
	db, err := open(ctx, l.path)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		l.log.Warn("the list of jobs cannot be kept in its file; it is kept in memory", "file", l.path, "error", err)
		if db, err = openMemory(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("joblist: %w", err)
		}
	}
	l.db = db
	close(l.ready)
	write, clean := time.NewTicker(writeEvery), time.NewTicker(cleanEvery)
	defer write.Stop()
	defer clean.Stop()
	said := ""
	for {
		var err error
		select {
		case <-ctx.Done():
			err := l.write(context.WithoutCancel(ctx))
			return errors.Join(err, db.Close())
		case <-write.C:
			err = l.write(ctx)
		case <-clean.C:
			err = l.clean(ctx)
		}
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said: // it is tried four times a second
			said = err.Error()
			l.log.Warn("the list of jobs could not be written; what is missing is written the next time", "error", err)
		}
	}
}

func open(ctx context.Context, path string) (*sql.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	db, err := prepare(ctx, path)
	for try := 0; isBusy(err) && try < busyTries; try++ {
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		db, err = prepare(ctx, path)
	}
	spoilt, ok := errors.AsType[*sqlite.Error](err)
	if !ok || spoilt.Code() != notDatabase && spoilt.Code() != corrupt {
		return db, err
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if gone := os.Remove(name); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			return nil, errors.Join(err, gone)
		}
	}
	return prepare(ctx, path)
}

// isBusy says that another front end makes the same file at this moment: SQLite does not wait for a change of the journal's mode.
func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == busy
}

// prepare opens a file and makes its tables. It drops tables that another version has made.
func prepare(ctx context.Context, path string) (*sql.DB, error) {
	// A lost last second is followed again, so nothing has to be synced.
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path)+
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=cache_size(-8000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	return setUp(ctx, db)
}

func openMemory(ctx context.Context) (*sql.DB, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // each connection would have a memory of its own
	return setUp(ctx, db)
}

// setUp makes the tables; db is closed when that fails.
func setUp(ctx context.Context, db *sql.DB) (*sql.DB, error) {
	version, err := versionOf(ctx, db)
	if err == nil && version != schemaVersion {
		err = makeTables(ctx, db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// versionOf is the version of the tables in a file; 0: there are none.
func versionOf(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
},
) (version int, err error) {
	err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

// makeTables makes the tables, unless another front end of this machine that opens the same file has made them by then.
func makeTables(ctx context.Context, db *sql.DB) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	version, err := versionOf(ctx, conn)
	if err == nil && version != schemaVersion {
		_, err = conn.ExecContext(ctx, schema)
	}
	if err != nil {
		_, undone := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(err, undone)
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// From returns the number from which a shard must be followed. It forgets entries of another stream, and those of a past that
// still does not know. It implements jobs.Listing.
func (l *List) From(ctx context.Context, shard, stream string, still func(uint64, time.Time) (bool, error)) (uint64, error) {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if err := l.write(ctx); err != nil {
		return 0, err
	}
	was, err := positionIn(ctx, l.db, shard)
	if err != nil {
		return 0, err
	}
	valid := was.stream == stream
	if valid && was.seen > 0 {
		if valid, err = still(was.seen, was.at); err != nil {
			return 0, err
		}
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if !valid {
		was = position{stream: stream}
	}
	l.begin(shard, was) // before anything is forgotten, so that nothing of an earlier position is written afterwards
	if !valid {
		if err := forget(ctx, l.db, shard); err != nil {
			return 0, err
		}
	}
	if was.seen == 0 {
		return 0, nil
	}
	return was.seen + 1, nil
}

func (l *List) begin(shard string, at position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.positions[shard] = at
	delete(l.missing, shard)
}

// Note takes an entry. It is written within a moment, or when a list is requested. When many are held Note writes them first,
// so that the follower of the records waits for the file.
func (l *List) Note(ctx context.Context, e job.Entry) error {
	if l.hold(e) < maxPending {
		return nil
	}
	return l.write(ctx)
}

// hold keeps an entry, unless it has a newer one of the same job, and returns how many it keeps.
func (l *List) hold(e job.Entry) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.pending[e.ID]; !ok || was.Revision <= e.Revision {
		l.pending[e.ID] = e
	}
	return len(l.pending)
}

// Seen says that a shard was followed up to a number, which was written at a time.
func (l *List) Seen(shard string, revision uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was := l.positions[shard]; revision > was.seen {
		l.positions[shard] = position{was.stream, revision, at}
		close(l.news)
		l.news = make(chan struct{})
	}
}

// Page lists jobs, the newest first, and reports whether there are more in the requested direction. It includes everything
// that was written before it was called. Every error is a *fault.Error.
func (l *List) Page(ctx context.Context, f job.Filter) (ids []job.ID, more bool, err error) {
	select {
	case <-l.ready:
	case <-time.After(catchUp):
		return nil, false, fault.New(fault.NoWorkers, "the list of jobs is not ready yet; try again")
	}
	ctx, cancel := context.WithTimeout(ctx, searchPatience)
	defer cancel()
	if err := l.current(ctx); err != nil {
		return nil, false, err
	}
	if err := l.write(ctx); err != nil {
		return nil, false, l.unwritten(err)
	}
	return search(ctx, l.db, f)
}

// unwritten is the caller's error for a list that cannot be brought up to date.
func (l *List) unwritten(err error) error {
	said, ok := errors.AsType[*sqlite.Error](err)
	if !ok || said.Code()&0xff != diskFull && said.Code()&0xff != inputOutput {
		return fault.Wrap(fault.Internal, err, "internal error")
	}
	f := fault.Wrap(fault.QueueFull, err, "the list of jobs cannot be written: the disk of %s is full or failing; make room on it, then try again", filepath.Dir(l.path))
	f.RetryAfter = 10 * time.Second
	return f
}

// current waits until everything that was written before has been noted.
func (l *List) current(ctx context.Context) error {
	written, err := l.source.Written(ctx)
	if err != nil {
		return err
	}
	timer := time.NewTimer(catchUp)
	defer timer.Stop()
	for {
		l.mu.Lock()
		behind := false
		for shard, revision := range written {
			behind = behind || l.positions[shard].seen < revision && l.missing[shard] < revision
		}
		news := l.news
		l.mu.Unlock()
		if !behind {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fault.New(fault.Deadline, "the list of jobs was not ready in time")
		case <-timer.C:
			// The last record may have expired, or a new file is still being filled: then the list is shorter.
			l.mu.Lock()
			defer l.mu.Unlock()
			maps.Copy(l.missing, written)
			return nil
		}
	}
}
