// Package schema checks JSON bodies the way pydantic checks the bodies of MLflow's gateway.
//
// A schema is a value made of rules. A rule looks at one raw value, records what is wrong with it, and returns
// the bytes that stand for it from then on: the bytes it came with, unless pydantic would have converted the
// value ("0.5" to 0.5, true to 1, 2.0 to 2 where an integer is asked for). What is null is left out, at every
// depth, as the gateway leaves it out.
//
// The package also reads bodies the way Python's json.loads reads bytes (Text), and finds the place that
// Python complains about in a text that is not JSON (Explain).
package schema
