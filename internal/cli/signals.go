package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// hurryPatience is how long a command may take to end after the second signal.
	hurryPatience = 3 * time.Second
	// exitSignal and the number of the signal are the exit status of a command that was not waited for, as shells have it.
	exitSignal = 128
)

// MainUntil is Main with the signals that ask the process to end. The first one ends the command in good order, the
// second tells it to wait for nothing any more, and with the third, or when it takes longer than a few seconds after
// the second, MainUntil returns while the command still runs.
func MainUntil(signals <-chan os.Signal, args []string, streams Streams) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	hurry := make(chan struct{})
	streams.Hurry = hurry
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, args, streams) }()

	var first os.Signal
	select {
	case code := <-ended:
		return code
	case first = <-signals:
	}
	stop(fmt.Errorf("%s signal received", first))
	var second os.Signal
	select {
	case code := <-ended:
		return code
	case second = <-signals:
	}
	close(hurry)
	over := time.NewTimer(hurryPatience)
	defer over.Stop()
	select {
	case <-ended:
	case <-signals:
	case <-over.C:
	}
	return exitSignal + number(second)
}

func number(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return int(syscall.SIGINT)
}
