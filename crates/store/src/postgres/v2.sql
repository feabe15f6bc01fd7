-- What a step found, for the request that waits for its import in another server; goes some seconds after that.
CREATE TABLE answers (
    until bigint NOT NULL,
    position integer NOT NULL,
    account bytea NOT NULL,
    import bytea NOT NULL,
    other bytea NOT NULL,
    PRIMARY KEY (account, import, position, other)
) PARTITION BY HASH (account);
CREATE INDEX answers_by_end ON answers (until);
CREATE INDEX answers_by_other ON answers (other);
CREATE TABLE answers_0 PARTITION OF answers FOR VALUES WITH (MODULUS 1, REMAINDER 0)
    WITH (autovacuum_vacuum_scale_factor = 0.02);
