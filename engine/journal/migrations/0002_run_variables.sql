-- The variables of the run's rule as they were when it began: a run that is resumed must not see others.
ALTER TABLE runs ADD COLUMN variables TEXT;
