-- What came of assignments and is not acknowledged yet.
CREATE TABLE results (
    seq  BIGINT PRIMARY KEY,
    at   BIGINT NOT NULL, -- when it was put here
    item TEXT NOT NULL, -- as it is sent
    sum  BIGINT NOT NULL -- of seq and item
);

-- One row: the stream of the results, and what there is to do.
CREATE TABLE memory (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    stream      TEXT NOT NULL,
    last_seq    BIGINT NOT NULL, -- of the newest result that there ever was
    dropped     BIGINT NOT NULL, -- results that were lost for want of room
    assignments TEXT NOT NULL
);
