-- Where the epoch of a pair key stands: 0 live, 1 current, 2 retired, 3 cleared. 0 for keys of other purposes. Each step
-- of an import locks these rows in share mode, so a change waits for the steps that began before it.
ALTER TABLE keys ADD COLUMN state bigint NOT NULL DEFAULT 0;
UPDATE keys SET state = 1
WHERE purpose = 'pair' AND version = (SELECT max(version) FROM keys WHERE purpose = 'pair');

-- Which epochs a server checks, and until when that is sure.
CREATE TABLE servers (
    until bigint NOT NULL,
    server bytea NOT NULL PRIMARY KEY,
    epochs bigint[] NOT NULL
);
