package httpapi

// The limit on failures is reached by requests from thousands of addresses,
// which its test makes up.
var NewRefusals = newRefusals

// Take counts a failure of an address.
func (f *refusals) Take(remote string) bool { return f.take(remote) == 0 }

// Addresses is how many addresses are told apart.
func (f *refusals) Addresses() int { return len(f.buckets) }
