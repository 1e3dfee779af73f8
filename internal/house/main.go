// House measures the shape of this checkout: how large its packages and types are, which of them know NATS, how much is
// explained and tested. `make house` prints every figure; `make lint` runs it with -check, which fails when one of the
// first three figures is over its limit.
//
// It reads the sources only, with go/parser: nothing is built.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// errTooLarge says that a figure is over its limit; the table names it.
var errTooLarge = errors.New("a figure is over its limit; find the missing noun and give it a package or a type of its own")

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("house", flag.ContinueOnError)
	root := flags.String("root", ".", "the checkout to measure")
	check := flags.Bool("check", false, "print what is over its limit only, and fail when something is")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	tree, err := read(*root)
	if err != nil {
		return err
	}
	over := excesses(tree, limits())
	if *check {
		over = unexpected(over)
	}
	for _, line := range over {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if *check {
		if len(over) > 0 {
			return errTooLarge
		}
		return nil
	}
	if err := show(out, tree); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
