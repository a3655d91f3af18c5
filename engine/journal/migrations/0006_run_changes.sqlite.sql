-- Every status that a run has had, for those who follow what happens. The database writes it, so that nothing that changes a run can forget to.
CREATE TABLE run_changes (
    seq    {{identity}},
    run_id TEXT NOT NULL,
    rule   TEXT NOT NULL,
    status TEXT NOT NULL
);
CREATE INDEX run_changes_run ON run_changes (run_id);
CREATE TRIGGER runs_created AFTER INSERT ON runs BEGIN
    INSERT INTO run_changes (run_id, rule, status) VALUES (NEW.id, NEW.rule, NEW.status);
END;
CREATE TRIGGER runs_changed AFTER UPDATE OF status ON runs WHEN NEW.status <> OLD.status BEGIN
    INSERT INTO run_changes (run_id, rule, status) VALUES (NEW.id, NEW.rule, NEW.status);
END;
CREATE TRIGGER runs_removed AFTER DELETE ON runs BEGIN
    DELETE FROM run_changes WHERE run_id = OLD.id;
END;
