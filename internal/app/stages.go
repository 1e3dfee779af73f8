package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// stage is one part of a process. Its run blocks until ctx ends and everything it started has ended.
type stage struct {
	name string
	run  func(context.Context) error
}

// prefixed puts the name of a stage before its error, unless that begins with it.
func prefixed(name string, err error) error {
	if strings.HasPrefix(err.Error(), name+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// runStages starts all stages together and, when ctx ends or one of them returns, stops them one after the
// other from the last to the first: a stage is stopped only when all that use it have ended. It returns what
// the stages returned.
func runStages(ctx context.Context, stages []stage) error {
	stages = append([]stage{{"heap", tendHeap}}, stages...)
	base := context.WithoutCancel(ctx)
	cancels := make([]context.CancelFunc, len(stages))
	done := make([]chan struct{}, len(stages))
	errs := make([]error, len(stages))
	first, one := context.WithCancel(ctx)
	defer one()
	for i, s := range stages {
		var own context.Context
		own, cancels[i] = context.WithCancel(base)
		done[i] = make(chan struct{})
		go func() {
			defer close(done[i])
			defer one()
			if err := s.run(own); err != nil {
				errs[i] = prefixed(s.name, err)
			}
		}()
	}
	<-first.Done()
	for i, cancel := range slices.Backward(cancels) {
		cancel()
		<-done[i]
	}
	return errors.Join(errs...)
}
