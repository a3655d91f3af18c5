//go:build !unix

package db

// fileLock does nothing where the system has no flock; SQLite's own locks
// still keep the file whole.
type fileLock struct{}

func lockFile(string) (*fileLock, error) { return &fileLock{}, nil }

func (*fileLock) release() error { return nil }
