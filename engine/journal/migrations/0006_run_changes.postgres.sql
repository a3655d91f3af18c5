-- Every status that a run has had, for those who follow what happens. The database writes it, so that nothing that changes a run can forget to.
CREATE TABLE run_changes (
    seq    {{identity}},
    run_id TEXT NOT NULL,
    rule   TEXT NOT NULL,
    status TEXT NOT NULL
);
CREATE INDEX run_changes_run ON run_changes (run_id);
CREATE FUNCTION note_run_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_changes (run_id, rule, status) VALUES (NEW.id, NEW.rule, NEW.status);
    RETURN NULL;
END $$;
CREATE FUNCTION drop_run_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_changes WHERE run_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_created AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION note_run_change();
CREATE TRIGGER runs_changed AFTER UPDATE OF status ON runs FOR EACH ROW WHEN (NEW.status <> OLD.status) EXECUTE FUNCTION note_run_change();
CREATE TRIGGER runs_removed AFTER DELETE ON runs FOR EACH ROW EXECUTE FUNCTION drop_run_changes();
