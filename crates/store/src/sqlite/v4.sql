-- Requests that were paid for: the same again is free until then. `digest` is of all that was asked.
CREATE TABLE paid (
    account BLOB NOT NULL,
    request BLOB NOT NULL,
    digest BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX paid_by_expiry ON paid (expires_at);

-- Hashes of what may be used once, and was.
CREATE TABLE used (
    id BLOB NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_by_expiry ON used (expires_at);

-- The audit log. `account` is another hash than in the other tables, null for the operator's own doing. No number comes
-- again, also when the newest rows are gone.
CREATE TABLE events (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    account BLOB,
    details TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_time ON events (at);
CREATE TRIGGER events_stay_as_they_are BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only added to');
END;

-- Which events the webhook is still to be told of.
CREATE TABLE event_queue (
    event INTEGER NOT NULL PRIMARY KEY,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL
) STRICT;
CREATE INDEX event_queue_by_due ON event_queue (due_at);

-- Who follows whom on the network, of those that are matched. `due_at` is when it is looked at whether they still are.
CREATE TABLE follows (
    account BLOB NOT NULL,
    record BLOB NOT NULL,
    other BLOB NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (account, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX follows_by_other ON follows (other);
CREATE INDEX follows_by_due ON follows (due_at);

-- Where reading a stream goes on: null before its first piece. `server` is who reads it, null when nobody does.
CREATE TABLE streams (
    stream TEXT NOT NULL PRIMARY KEY,
    cursor INTEGER,
    server BLOB,
    leased_until INTEGER
) STRICT, WITHOUT ROWID;

-- Accounts that a stream says are gone, to be confirmed.
CREATE TABLE departures (
    account BLOB NOT NULL PRIMARY KEY,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX departures_by_due ON departures (due_at);

-- Accounts that have verified a number, for limits that favour them. Names no number.
CREATE TABLE proofs (
    account BLOB NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX proofs_by_expiry ON proofs (expires_at);
