package calls_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"headrace/internal/natstest"
)

// TestMain lets more tests run at a time than there are processors, since most of them wait most of the time.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "5"); err != nil { // the command line's word counts more
		panic(err) //nolint:forbidigo // there is no test yet that could fail
	}
	goleak.VerifyTestMain(m, natstest.Leaks()...)
}
