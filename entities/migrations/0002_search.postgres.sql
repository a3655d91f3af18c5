-- What lists of entities are narrowed by: search is the id and the name, in lower case; status is the field of that name.
ALTER TABLE entities ADD COLUMN search TEXT;
ALTER TABLE entities ADD COLUMN status TEXT;
UPDATE entities SET
    search = substr(lower(id || ' ' || coalesce(CASE json_typeof(state::json -> 'name') WHEN 'string' THEN state::json ->> 'name' END, '')), 1, 300),
    status = CASE json_typeof(state::json -> 'status') WHEN 'string' THEN substr(state::json ->> 'status', 1, 100) END
WHERE state IS NOT NULL;
CREATE INDEX entities_search ON entities (kind, search) WHERE state IS NOT NULL;
CREATE INDEX entities_status ON entities (kind, status, id) WHERE state IS NOT NULL;
