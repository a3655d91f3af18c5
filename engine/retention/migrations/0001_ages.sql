-- By these the oldest rows of a rule or a kind are found, page after page.
CREATE INDEX transitions_age ON transitions (kind, at, seq);
CREATE INDEX events_age ON events (kind, at, seq);
CREATE INDEX decisions_age ON decisions (rule, at, seq);
CREATE INDEX runs_age ON runs (rule, finished_at, id) WHERE finished_at IS NOT NULL;

-- And by these what still needs them.
CREATE INDEX events_about ON events (about_seq) WHERE about_seq IS NOT NULL;
CREATE INDEX window_items_event ON window_items (event_id);
CREATE INDEX silenced_event ON silenced (event_id);
CREATE INDEX runs_batched ON runs (id) WHERE finished_at IS NULL AND batch IS NOT NULL;
