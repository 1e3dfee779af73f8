// Package dashboard shows people what a front end does: pages below /ui, made on the server, in which parts change by
// themselves while a browser listens. It asks for what it shows through the interfaces of sources.go, changes jobs and queues
// through them too, and owns no state but what it has rendered lately.
//
//	server.go    paths to pages, what every reply says to browsers
//	live.go      server-sent events: parts of a page, made once for all who look at it
//	now.go       the first page; health.go: what is wrong, in words, and what to do
//	calls.go     recent calls, and one as a timeline
//	jobs.go      jobs, one with its history, and what can be done with it
//	routes.go    routes and replicas; pause and resume
//	line.go      the filter line: a text in, terms out
//	text.go      figures and foreign texts as people read them
//
// All that a caller or a model wrote goes through clean and html/template. No page has a script or a style in it: the
// Content-Security-Policy forbids them.
package dashboard
