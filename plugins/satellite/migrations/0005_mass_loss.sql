-- The mass loss that the newest loss of a satellite belongs to; empty: none.
ALTER TABLE satellites ADD COLUMN mass_loss TEXT NOT NULL DEFAULT '';
