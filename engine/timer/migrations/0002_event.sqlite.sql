-- The event that the handler of a timer will read: it must not go before.
ALTER TABLE timers ADD COLUMN event_id TEXT;
UPDATE timers SET event_id = json_extract(payload, '$.event_id') WHERE payload LIKE '{%"event_id":"%}';
CREATE INDEX timers_event ON timers (event_id) WHERE event_id IS NOT NULL;
