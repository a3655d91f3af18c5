package rules

// What the parser takes, to compare with the table of the language.
var (
	ParserTriggers = triggerKeys
	ParserSteps    = engineSteps
	ParserStepKeys = common
)
