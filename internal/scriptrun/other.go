//go:build !unix

package scriptrun

import (
	"errors"
	"os"
	"os/exec"
)

type identity struct{}

func (c Config) identity() (identity, error) {
	if c.User != "" {
		return identity{}, errors.New("this system cannot run scripts as another user")
	}
	return identity{}, nil
}

func (identity) own(string) error { return nil }

func (identity) confine(*exec.Cmd) {}

func (identity) sweep(*exec.Cmd) {}

func signalOf(*os.ProcessState) string { return "" }
