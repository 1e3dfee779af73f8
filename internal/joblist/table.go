package joblist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"headrace/internal/fault"
	"headrace/internal/job"
)

const schemaVersion = 2

// schema drops the existing tables and makes new ones. Times are unix milliseconds, 0 = not yet; those of shards nanoseconds.
const schema = `
DROP TABLE IF EXISTS shards; DROP TABLE IF EXISTS jobs; DROP TABLE IF EXISTS labels;
CREATE TABLE shards (shard TEXT PRIMARY KEY, stream TEXT NOT NULL, seen INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
	place TEXT PRIMARY KEY, id TEXT NOT NULL, shard TEXT NOT NULL, state TEXT NOT NULL, route TEXT NOT NULL,
	provider TEXT NOT NULL, priority TEXT NOT NULL, created INTEGER NOT NULL, finished INTEGER NOT NULL,
	until INTEGER NOT NULL, error TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX jobs_state ON jobs (state, place);
CREATE INDEX jobs_route ON jobs (route, place);
CREATE INDEX jobs_error ON jobs (error, place) WHERE error <> '';
CREATE INDEX jobs_until ON jobs (until) WHERE until > 0;
CREATE TABLE labels (label TEXT NOT NULL, place TEXT NOT NULL, PRIMARY KEY (label, place)) WITHOUT ROWID;
CREATE INDEX labels_place ON labels (place);
PRAGMA user_version = 2;
`

const upsert = `INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (place) DO UPDATE SET
	state = excluded.state, finished = excluded.finished, until = excluded.until, error = excluded.error`

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func tagLabel(tag string) string         { return "t" + tag }
func metaLabel(key, value string) string { return "m" + key + "\x00" + value }

// write writes what is pending, in one transaction.
func (l *List) write(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	entries, positions := l.pending, maps.Clone(l.positions)
	if len(entries) == 0 {
		l.mu.Unlock()
		return nil
	}
	l.pending = make(map[job.ID]job.Entry)
	l.mu.Unlock()
	err := transact(ctx, l.db, func(tx *sql.Tx) error {
		if err := writeEntries(ctx, tx, entries); err != nil {
			return err
		}
		for shard, p := range positions {
			if err := writePosition(ctx, tx, shard, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, e := range entries {
			l.hold(e)
		}
	}
	return err
}

func writePosition(ctx context.Context, tx *sql.Tx, shard string, p position) error {
	at := int64(0)
	if !p.at.IsZero() {
		at = p.at.UnixNano()
	}
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?)", shard, p.stream, int64(p.seen), at)
	return err
}

// positionIn is how far a shard was followed, as it was written.
func positionIn(ctx context.Context, db *sql.DB, shard string) (p position, err error) {
	var at int64
	err = db.QueryRowContext(ctx, "SELECT stream, seen, at FROM shards WHERE shard = ?", shard).Scan(&p.stream, &p.seen, &at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return p, fmt.Errorf("joblist: %w", err)
	}
	p.at = time.Unix(0, at)
	return p, nil
}

func transact(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("joblist: %w", err)
	}
	if err := do(tx); err != nil {
		return fmt.Errorf("joblist: %w", errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("joblist: %w", err)
	}
	return nil
}

func writeEntries(ctx context.Context, tx *sql.Tx, entries map[job.ID]job.Entry) error {
	put, err := tx.PrepareContext(ctx, upsert)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }() // the transaction's end closes it too
	for _, e := range entries {
		place := job.Order(e.ID, e.CreatedAt)
		if e.State == job.Erased {
			if err := drop(ctx, tx, "place = ?", place); err != nil {
				return err
			}
			continue
		}
		if _, err := put.ExecContext(ctx, place, string(e.ID), e.Shard, string(e.State), e.Route, e.Provider,
			string(e.Priority), millis(e.CreatedAt), millis(e.FinishedAt), millis(e.Until), e.ErrorCode); err != nil {
			return err
		}
		var labels []string
		for _, tag := range e.Tags {
			labels = append(labels, tagLabel(tag))
		}
		for key, value := range e.Metadata {
			labels = append(labels, metaLabel(key, value))
		}
		for _, label := range labels {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO labels VALUES (?, ?)", label, place); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop removes jobs and their labels. where is always ours, never a caller's text.
func drop(ctx context.Context, tx *sql.Tx, where string, args ...any) error {
	//nolint:gosec // as above
	if _, err := tx.ExecContext(ctx, "DELETE FROM labels WHERE place IN (SELECT place FROM jobs WHERE "+where+")", args...); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM jobs WHERE "+where, args...) //nolint:gosec // as above
	return err
}

// clean drops jobs whose results have expired.
func (l *List) clean(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return transact(ctx, l.db, func(tx *sql.Tx) error {
		return drop(ctx, tx, "until > 0 AND until <= ?", time.Now().UnixMilli())
	})
}

// forget drops all jobs of a shard.
func forget(ctx context.Context, db *sql.DB, shard string) error {
	return transact(ctx, db, func(tx *sql.Tx) error {
		if err := drop(ctx, tx, "shard = ?", shard); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM shards WHERE shard = ?", shard)
		return err
	})
}

// search runs a filter.
func search(ctx context.Context, db *sql.DB, f job.Filter) (ids []job.ID, more bool, err error) {
	where, args := conditions(f)
	direction := "DESC"
	for _, cursor := range []struct {
		name string
		id   job.ID
		is   string
	}{{"after", f.After, "place < ?"}, {"before", f.Before, "place > ?"}} {
		if cursor.id == "" {
			continue
		}
		place, err := placeOf(ctx, db, cursor.name, cursor.id)
		if err != nil {
			return nil, false, err
		}
		where, args = append(where, cursor.is), append(args, place)
	}
	if f.Before != "" {
		direction = "ASC"
	}
	query := "SELECT id FROM jobs WHERE " + strings.Join(where, " AND ") + " ORDER BY place " + direction + " LIMIT ?" //nolint:gosec // all texts are ours
	rows, err := db.QueryContext(ctx, query, append(args, f.Limit+1)...)
	if err != nil {
		return nil, false, failed(ctx, err)
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	for rows.Next() {
		var id job.ID
		if err := rows.Scan(&id); err != nil {
			return nil, false, failed(ctx, err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, false, failed(ctx, err)
	}
	if more = len(ids) > f.Limit; more {
		ids = ids[:f.Limit]
	}
	if f.Before != "" {
		slices.Reverse(ids)
	}
	return ids, more, nil
}

func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Deadline, err, "searching took more than %s; ask for fewer jobs, by route, status or time", searchPatience)
	}
	return fault.Wrap(fault.Internal, err, "internal error")
}

// placeOf returns the place of a job in the list, which the parameter name gives. An id of ours contains its place.
func placeOf(ctx context.Context, db *sql.DB, name string, id job.ID) (string, error) {
	if job.Ours(id) {
		return string(id), nil
	}
	var place string
	err := db.QueryRowContext(ctx, "SELECT place FROM jobs WHERE id = ?", string(id)).Scan(&place)
	if errors.Is(err, sql.ErrNoRows) {
		f := fault.New(fault.Invalid, "there is no job %q any more to go on from; list from the beginning", id)
		f.Param = name
		return "", f
	}
	if err != nil {
		return "", failed(ctx, err)
	}
	return place, nil
}

// conditions are the SQL conditions of a filter.
func conditions(f job.Filter) (where []string, args []any) {
	add := func(text string, values ...any) {
		where, args = append(where, text), append(args, values...)
	}
	add("(until = 0 OR until > ?)", time.Now().UnixMilli())
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, state := range f.States {
			states[i] = string(state)
		}
		add("state IN (?"+strings.Repeat(", ?", len(states)-1)+")", states...)
	}
	for column, value := range map[string]string{
		"route": f.Route, "provider": f.Provider, "priority": string(f.Priority), "error": f.ErrorCode,
	} {
		if value != "" {
			add(column+" = ?", value)
		}
	}
	if f.ErrorCode != "" {
		add("error <> ''") // which has an index
	}
	for _, limit := range []struct {
		text string
		at   time.Time
	}{
		{"created > ?", f.CreatedAfter},
		{"created < ?", f.CreatedBefore},
		{"finished > ?", f.FinishedAfter},
		{"finished > 0 AND finished < ?", f.FinishedBefore},
	} {
		if !limit.at.IsZero() {
			add(limit.text, limit.at.UnixMilli())
		}
	}
	const labelled = "place IN (SELECT place FROM labels WHERE label = ?)"
	for _, tag := range f.Tags {
		add(labelled, tagLabel(tag))
	}
	for key, value := range f.Metadata {
		add(labelled, metaLabel(key, value))
	}
	return where, args
}
