-- Where the epoch of a pair key stands: 0 live, 1 current, 2 retired, 3 cleared. 0 for keys of other purposes.
ALTER TABLE keys ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
UPDATE keys SET state = 1
WHERE purpose = 'pair' AND version = (SELECT max(version) FROM keys WHERE purpose = 'pair');
