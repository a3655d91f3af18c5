package engine

import "context"

// Renew keeps the leases of this node's runs, as happens in the background.
func (e *Engine) Renew(ctx context.Context) error { return e.worker.renewOnce(ctx) }
