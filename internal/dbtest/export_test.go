package dbtest

// Unavailable is for the test of skipping, which needs a machine with
// PostgreSQL to behave as one without.
var Unavailable = unavailable
