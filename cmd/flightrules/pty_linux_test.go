package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// atTerminal runs the program at a terminal into which a person types, and
// gives what is on the screen, and its exit code.
func atTerminal(t *testing.T, typed string, args ...string) (screen string, code int) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil && os.Getenv("FLIGHTRULES_TEST_STRICT") != "1" {
		t.Skipf("there are no terminals here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = person.Close() }()
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t.Context(), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = line, line, line
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = line.Close() // the program has it
	if _, err := io.WriteString(person, typed); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(person) // it ends with an error: the line is gone
	var exited *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
