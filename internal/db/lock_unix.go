//go:build unix

package db

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// fileLock is held on a file beside the database for as long as the process
// has it open. The system takes it back when the process ends, however it ends.
type fileLock struct{ file *os.File }

func lockFile(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		closeErr := file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("%w (lock %s)", ErrLocked, path), closeErr)
		}
		return nil, errors.Join(err, closeErr)
	}
	return &fileLock{file}, nil
}

// release gives the lock back. The file stays: removing it would let two
// processes lock two files of one name. Closing alone would leave the lock with
// a child process that is being started and has not yet let go of our files.
func (l *fileLock) release() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
