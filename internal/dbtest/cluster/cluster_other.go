//go:build !unix

// Package cluster runs a throw-away PostgreSQL. Where there is no Unix it cannot:
// Start returns ErrNotInstalled, and tests use the server that the environment
// names.
package cluster

import "context"

// A Cluster is a running server; there is none on this system.
type Cluster struct{}

// Start returns ErrNotInstalled.
func Start(context.Context, string) (*Cluster, error) { return nil, ErrNotInstalled }

// URL is the address of the server's own database.
func (*Cluster) URL() string { return "" }

// Stop ends the server.
func (*Cluster) Stop() error { return nil }
