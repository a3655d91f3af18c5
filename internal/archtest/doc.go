// Package archtest holds the architecture: which package may import which, what
// may be called what, and where files may be. It has tests only.
//
// The layers are one table, in layers_test.go. A package that is new is added
// there, in the lowest line that it can live on.
package archtest
