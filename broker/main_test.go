package broker_test

import (
	"testing"

	"go.uber.org/goleak"

	"headrace/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, natstest.Leaks()...) }
