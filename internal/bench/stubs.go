package bench
import "context"
func match(ctx context.Context, o Options) ([]Result, error) { return nil, nil }
func detect(ctx context.Context, o Options) ([]Result, error) { return nil, nil }
