package mortal_test

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"headrace/e2e/mortal"
)

// What a test has started ends when the test is killed.
func TestChildEndsWithItsParent(t *testing.T) {
	if os.Getenv("MORTAL_PARENT") != "" {
		child := exec.CommandContext(t.Context(), "sleep", "600")
		child.Stderr, child.SysProcAttr = os.Stderr, mortal.Attributes()
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stderr.WriteString("started\n")
		_ = child.Wait()
		return
	}
	t.Parallel()
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestChildEndsWithItsParent$")
	parent.Env = append(os.Environ(), "MORTAL_PARENT=1")
	near, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close() }()
	parent.Stderr = far // both of them have it
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if err := near.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, len("started\n"))); err != nil {
		t.Fatalf("the parent does not start its child: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if _, err := io.ReadAll(near); err != nil { // its end comes when neither has it any more
		t.Errorf("the child lives: %v", err)
	}
}
