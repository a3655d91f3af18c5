-- A token that was replaced may be good for a while longer.
ALTER TABLE satellites ADD COLUMN old_token_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE satellites ADD COLUMN old_token_until BIGINT;
ALTER TABLE satellites ADD COLUMN session_token_hash TEXT NOT NULL DEFAULT ''; -- of the token that its newest session began with
UPDATE satellites SET session_token_hash = token_hash;
