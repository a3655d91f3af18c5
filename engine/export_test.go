package engine

import "context"

// Renew keeps the leases of this node's runs, as happens in the background.
func (e *Engine) Renew(ctx context.Context) error { return e.worker.renewOnce(ctx) }

// Reporting is how many walks wait to write.
func (e *Engine) Reporting() int { return e.reports.Waiting() }
