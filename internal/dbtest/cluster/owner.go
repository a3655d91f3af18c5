//go:build unix

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An owner is the user that runs the server and owns its folder: the server
// refuses to be root.
type owner struct {
	credential *syscall.Credential // nil: the user that we are
	base       string              // where its folders are made
}

// findOwner returns the user that we are; for root "postgres" if there is such
// a user, else "nobody".
func findOwner() (owner, error) {
	if os.Geteuid() != 0 {
		base, err := filepath.Abs(os.TempDir())
		return owner{base: base}, err
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return owner{}, fmt.Errorf("find an unprivileged user: %w", err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	// Root's TMPDIR may be closed to others; /tmp never is.
	return owner{
		credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		base:       "/tmp",
	}, errors.Join(uidErr, gidErr)
}

// attributes put the process into a group of its own, so that Ctrl-C at the
// terminal does not end the guard before it has cleaned up.
func (o owner) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: o.credential}
}

// makeDir makes a folder for one cluster and locks it for this process.
func (o owner) makeDir() (string, *os.File, error) {
	dir, err := os.MkdirTemp(o.base, dirPrefix+"*")
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDir(dir)
	if err == nil && o.credential != nil {
		err = os.Chown(dir, int(o.credential.Uid), int(o.credential.Gid))
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}
