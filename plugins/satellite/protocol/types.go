package protocol

// Type implements Message.
func (Authenticate) Type() string { return "authenticate" }

// Type implements Message.
func (Heartbeat) Type() string { return "heartbeat" }

// Type implements Message.
func (Results) Type() string { return "results" }

// Type implements Message.
func (Status) Type() string { return "status" }

// Type implements Message.
func (SecretsRequest) Type() string { return "secrets_request" }

// Type implements Message.
func (BundleRequest) Type() string { return "bundle_request" }

// Type implements Message.
func (BlobRequest) Type() string { return "blob_request" }

// Type implements Message.
func (SyncState) Type() string { return "sync_state" }

// Type implements Message.
func (Authenticated) Type() string { return "authenticated" }

// Type implements Message.
func (AuthFailed) Type() string { return "auth_failed" }

// Type implements Message.
func (HeartbeatAck) Type() string { return "heartbeat_ack" }

// Type implements Message.
func (ResultsAck) Type() string { return "results_ack" }

// Type implements Message.
func (Assignments) Type() string { return "assignments" }

// Type implements Message.
func (Secrets) Type() string { return "secrets" }

// Type implements Message.
func (Bundle) Type() string { return "bundle" }

// Type implements Message.
func (BundleManifest) Type() string { return "bundle_manifest" }

// Type implements Message.
func (Blob) Type() string { return "blob" }

// Type implements Message.
func (Shutdown) Type() string { return "shutdown" }

// Type implements Message.
func (Error) Type() string { return "error" }

// FromAgent are the messages that an agent sends, and FromCore those that the
// core sends; Error is both.
var (
	FromAgent = []Message{
		Authenticate{}, Heartbeat{}, Results{}, Status{}, SecretsRequest{}, BundleRequest{}, BlobRequest{}, SyncState{}, Error{},
	}
	FromCore = []Message{
		Authenticated{}, AuthFailed{}, HeartbeatAck{}, ResultsAck{}, Assignments{}, Secrets{}, Bundle{}, BundleManifest{}, Blob{},
		Shutdown{}, Error{},
	}
)

// readers decode the messages of each type.
var readers = map[string]func(frame []byte) (Message, error){
	"authenticate": decode[Authenticate], "heartbeat": decode[Heartbeat], "results": decode[Results], "status": decode[Status],
	"secrets_request": decode[SecretsRequest], "bundle_request": decode[BundleRequest], "blob_request": decode[BlobRequest],
	"sync_state": decode[SyncState], "authenticated": decode[Authenticated], "auth_failed": decode[AuthFailed],
	"heartbeat_ack": decode[HeartbeatAck], "results_ack": decode[ResultsAck], "assignments": decode[Assignments],
	"secrets": decode[Secrets], "bundle": decode[Bundle], "bundle_manifest": decode[BundleManifest], "blob": decode[Blob],
	"shutdown": decode[Shutdown], "error": decode[Error],
}
