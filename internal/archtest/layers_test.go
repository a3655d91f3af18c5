package archtest

// layers lists all packages, lowest line first. A package may import those of
// the lines before its own; those of one line never import each other. "name/*"
// stands for each package below name as one family: the packages of one plugin
// may import each other, not those of another.
//
// Test files keep the layers too, but may import testSupport.
var layers = [][]string{
	{"examples", "internal/archtest", "internal/bundle", "internal/client", "internal/clock", "internal/dbtest/cluster", "internal/duration", "internal/egress", "internal/loop", "internal/refusal", "internal/scriptrun", "internal/secret", "internal/suggest"},
	{"internal/dbtest", "internal/dbtest/withpostgres", "internal/yamlx", "internal/shape"},
	{"internal/expression", "internal/db"},
	{"engine/outbox", "engine/timer"},
	{"entities", "engine/action", "engine/journal"},
	{"triggers", "internal/follow"},
	{"rules"},
	{"plugins", "engine/retention"},
	{"engine"},
	{"plugins/*"},
	{"internal/httpapi"},
	{"internal/web"},
	{"internal/app"},
	{"internal/sim"},
	{"plugins/host", "engine/enginetest", "internal/dryrun", "internal/replay", "internal/ruletest"},
	{"internal/demo", "internal/bench", "internal/reference"},
	{"cmd/flightrules"},
}

// testSupport are the packages that only test files and each other may import;
// the layers do not count for that.
var testSupport = []string{"internal/dbtest", "engine/enginetest"}

// needs are the plugins that a plugin cannot be without, so that its tests may
// bring them up. Its other files know them by what they offer to all.
var needs = map[string][]string{"plugins/healthcheck": {"plugins/satellite"}, "plugins/scripts": {"plugins/satellite"}}

// forbidden are imports that the layers alone would allow: what a plugin does,
// it does through what it registers.
var forbidden = map[string][]string{
	"plugins/*": {"rules", "engine"},
}

// topLevel are the folders that the repository may have.
var topLevel = []string{
	"engine", "entities", "triggers", "rules", "plugins", "cmd", // the design
	"internal", "docs", "examples", ".ci", ".github",
}

// bannedNames are names that say nothing about what a package is for.
var bannedNames = []string{"common", "helper", "helpers", "misc", "types", "util", "utils"}
