CREATE TABLE outbox (
    id             {{identity}},
    transition_seq BIGINT,
    event_id       TEXT
);
