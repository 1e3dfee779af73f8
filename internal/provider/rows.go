package provider

import "headrace/internal/inference"

// Rows is a request taken apart, so that its rows can share a call with those of other requests, or be spread over
// several calls. All slices alias the request.
type Rows struct {
	// Key tells what may share a call: only rows of one route whose keys are equal. Equal keys stand for equal form
	// of request, parameters, columns, and kinds of the values in a row.
	Key string
	// Values are the rows in order, raw; at least one.
	Values [][]byte
	// Head and Tail are what stands before and after the rows in a call's body. They depend on Key alone.
	Head, Tail []byte
}

// Merger is what a provider implements beside Provider when its model servers answer rows independently of each
// other. A call of rows that do not make up exactly one request is written and read with it:
//
//	Rows     of each request, when it is accepted
//	Merge    the rows of a call
//	Cut      its reply into rows, when its status is 2xx
//	Whole    the reply that a request alone would have had, of its rows; Provider.Decode then reads it
//
// A request that has a call to itself goes through Provider.Encode and Decode as ever: nothing is taken apart.
type Merger interface {
	// Rows takes a request apart. It says no when the request cannot share a call: because the answer to it would
	// differ in company, or because its rows cannot be found.
	Rows(route *inference.Route, req *inference.Request) (Rows, bool)
	// Merge makes one call of rows that were given with like; at least one.
	Merge(like Rows, rows [][]byte) Call
	// Cut finds the n rows in the reply to a merged call of n rows. UpstreamBadResponse: the reply has another
	// number of rows, or another shape, and nothing in it can be told apart.
	Cut(route *inference.Route, kind inference.Type, n int, reply Reply) ([][]byte, error)
	// Whole makes the reply that a request would have had alone, of its rows cut from like. It says no when that
	// cannot be known, and the request has to be asked alone.
	Whole(kind inference.Type, like Reply, rows [][]byte) (Reply, bool)
}
