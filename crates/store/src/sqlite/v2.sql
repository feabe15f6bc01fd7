-- What a token was given for, sealed, so that an import can pair every identifier that its account has verified just now.
-- Tokens live for minutes: those of version 1 are given up, and their owners verify again.
DROP TABLE tokens;
CREATE TABLE tokens (
    token BLOB NOT NULL PRIMARY KEY,
    account BLOB NOT NULL,
    sealed BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_account ON tokens (account);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- Who is still to be told of a match with whom. `due_at` is null for a dead letter; `reason` says why the last attempt failed.
CREATE TABLE notices (
    account BLOB NOT NULL,
    other BLOB NOT NULL,
    found_at INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    reason TEXT,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account, other)
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_by_due ON notices (due_at);
CREATE INDEX notices_by_other ON notices (other);
CREATE INDEX notices_by_expiry ON notices (expires_at);
