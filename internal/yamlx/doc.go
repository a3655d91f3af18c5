// Package yamlx reads YAML strictly and tells every mistake at once, each with its file, line and column.
//
// Parse turns a file into a Node. The reader of the file walks the nodes, takes from each Map the keys that it knows, and
// calls Done, which reports the others. All problems go into one Problems, and nothing stops at the first: a method that
// finds a mistake adds a problem, returns false, and the reader goes on with the next key.
//
// YAML is taken in its plain form: one document in a file, keys that are strings and unique in their map, no merge keys,
// and no tags but those of the core schema. Anchors and aliases work.
package yamlx
