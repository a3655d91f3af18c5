package protocol

import (
	"encoding/json"
	"time"
)

const (
	// MaxItems bounds how many Items a Results has.
	MaxItems = 256
	// MaxPayload bounds the payload of an Item, in bytes of JSON.
	MaxPayload = 64 << 10
	// MaxError bounds the text of an Item's error, in bytes.
	MaxError = 2 << 10
	// MaxPart bounds the data of a Blob, in bytes.
	MaxPart = 512 << 10
)

// Assignments are all that a satellite is to do. Those that it does already
// go on undisturbed.
type Assignments struct {
	Revision int64        `json:"revision" doc:"A later one has a higher number."`
	Items    []Assignment `json:"items"`
}

// Assignment is something to be done again and again.
type Assignment struct {
	Capability string          `json:"capability"`
	ID         string          `json:"id" doc:"Unique in the capability."`
	Interval   Duration        `json:"interval"`
	Timeout    Duration        `json:"timeout"`
	Spec       json.RawMessage `json:"spec" doc:"As the capability has it."`
	Collectors []string        `json:"collectors,omitempty" doc:"That secrets can be asked for."`
}

// Results are what came of assignments, in the order in which it did: Items have
// consecutive numbers from Seq on. The agent keeps them until a ResultsAck.
type Results struct {
	// Stream names the agent's memory: numbers go on in one, also over restarts
	// of the agent, and begin at 1 in another.
	Stream  string    `json:"stream"`
	Seq     int64     `json:"seq" doc:"Of the first item."`
	Dropped int64     `json:"dropped" doc:"How many of the stream were lost so far, since there was no room for them."`
	SentAt  time.Time `json:"sent_at" doc:"By the agent's clock."`
	Items   []Item    `json:"items"`
}

// Item is what came of an assignment once: a payload or an error.
type Item struct {
	Capability string          `json:"capability"`
	Assignment string          `json:"assignment"`
	At         time.Time       `json:"at" doc:"When it was begun, by the agent's clock."`
	Duration   Duration        `json:"duration"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Error      string          `json:"error,omitempty" doc:"Why it could not be done."`
}

// ResultsAck says that the results of the stream up to Seq, and with it, need
// not be kept any more.
type ResultsAck struct {
	Stream string `json:"stream"`
	Seq    int64  `json:"seq"`
}

// Status is what an agent tells of how a capability does; the newest counts.
type Status struct {
	Capability string          `json:"capability"`
	Payload    json.RawMessage `json:"payload"`
}

// Work is the payload of the Status that an agent sends for each of its
// capabilities when it was told what to do.
type Work struct {
	Assigned int      `json:"assigned" doc:"How many assignments it does."`
	Unfit    []string `json:"unfit,omitempty" doc:"Those that it cannot do: it is too old, or they make no sense to it."`
}

// MaxUnfit bounds Unfit.
const MaxUnfit = 100

// SecretsRequest asks for the secrets of a collector of an assignment, for one
// run.
type SecretsRequest struct {
	RequestID  string `json:"request_id"`
	Capability string `json:"capability"`
	Assignment string `json:"assignment"`
	Collector  string `json:"collector"`
	RunID      string `json:"run_id"`
}

// Secrets answers a SecretsRequest, with values by variable or an error.
type Secrets struct {
	RequestID string            `json:"request_id"`
	Env       map[string]string `json:"env,omitempty"`
	Error     *Error            `json:"error,omitempty"`
}

// Bundle is the hash of the files that a satellite is to have; "" for none.
type Bundle struct {
	Hash string `json:"hash"`
}

// BundleRequest asks for what a bundle consists of.
type BundleRequest struct {
	Hash string `json:"hash"`
}

// BundleManifest answers a BundleRequest.
type BundleManifest struct {
	Hash     string          `json:"hash"`
	Manifest json.RawMessage `json:"manifest,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// BlobRequest asks for a part of a file of the bundle.
type BlobRequest struct {
	Digest string `json:"digest"`
	Offset int64  `json:"offset"`
}

// Blob answers a BlobRequest.
type Blob struct {
	Digest string `json:"digest"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size" doc:"Of the whole."`
	Data   []byte `json:"data,omitempty" doc:"Base64."`
	Error  *Error `json:"error,omitempty"`
}

// SyncState tells how far a satellite is with the files of a bundle.
type SyncState struct {
	Bundle string `json:"bundle"`
	Status string `json:"status" enum:"syncing,ready,failed"`
	Error  string `json:"error,omitempty"`
}

// The values of SyncState.Status.
const (
	Syncing = "syncing"
	Ready   = "ready"
	Failed  = "failed"
)

// The codes of the Error of Secrets, BundleManifest and Blob.
const (
	CodeNotAssigned   = "not_assigned"   // this satellite has no such assignment
	CodeNoCollector   = "no_collector"   // the assignment has no such collector
	CodeNoSecrets     = "no_secrets"     // the collector declares none
	CodeUnresolvable  = "unresolvable"   // a secret that it declares cannot be had
	CodeNotThisBundle = "not_its_bundle" // the satellite is not to have this
)
