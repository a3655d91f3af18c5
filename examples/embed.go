// Package examples holds rules to read and to begin from. The ones in demo are
// those that `flightrules demo` runs.
package examples

import "embed"

// Demo are the rules of the demo.
//
//go:embed demo/*.yaml
var Demo embed.FS
