//go:build unix

package cluster

// Seams for the tests: the folders that Find and Start look into.
var (
	FindIn      = find
	RemoveStale = removeStale
)

// Dir is the folder of the cluster.
func (c *Cluster) Dir() string { return c.dir }
