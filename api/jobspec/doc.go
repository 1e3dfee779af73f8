// Package jobspec reads what a caller asks of a job: in the headers of a call (Prefer, Job-*, Idempotency-Key), in the envelope
// of POST /v1/jobs, and in a batch of envelopes. It is pure: headers and bytes in, Options out, checked against Limits. Each
// error names the field or the header that is wrong, and what it takes.
//
// It owns the names of those headers, every bound on options, and the fingerprint that tells one request from another. Begin at
// Envelope and its method Checked; a call's headers go through FromHeaders and Options.
package jobspec
