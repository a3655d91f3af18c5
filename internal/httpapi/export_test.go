package httpapi

import "time"

// SetPatience says how long a reader of a stream may take for what is sent at
// once.
func (s *Server) SetPatience(d time.Duration) { s.patience = d }

// Readers is how many streams are open.
func (s *Server) Readers() int { return len(s.readers) }

// SetLimit says how long an operation may take.
func (s *Server) SetLimit(d time.Duration) { s.requestLimit = d }

// SetPing says how often it is looked whether a reader of a stream still may.
func (s *Server) SetPing(d time.Duration) { s.ping = d }
