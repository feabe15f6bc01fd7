-- Times are milliseconds since 1970. Keys are keyed hashes or random ids, so rows come in no telling order.

-- A row lives from the first right guess to removal, or until `forget_at` with nothing left that names it; `generation` tells one such life from the next.
CREATE TABLE accounts (
    account BLOB NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL,
    generation INTEGER NOT NULL,
    synced_at INTEGER,
    forget_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_by_forgetting ON accounts (forget_at);

-- `code_hash` and `sent_at` are null once the code is withdrawn: what stays is the count of wrong guesses.
CREATE TABLE codes (
    account BLOB NOT NULL PRIMARY KEY,
    code_hash BLOB,
    number_hash BLOB NOT NULL,
    sent_at INTEGER,
    expires_at INTEGER NOT NULL,
    wrong INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_by_expiry ON codes (expires_at);

CREATE TABLE tokens (
    token BLOB NOT NULL PRIMARY KEY,
    account BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_account ON tokens (account);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- Leaky buckets. `level` counts 1/86,400,000 of a permit, so that a day's leak is exact in whole milliseconds.
-- `empty_at` is null where nothing ever leaks.
CREATE TABLE limits (
    limit_kind INTEGER NOT NULL,
    key BLOB NOT NULL,
    level INTEGER NOT NULL,
    at INTEGER NOT NULL,
    empty_at INTEGER,
    PRIMARY KEY (limit_kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX limits_by_emptiness ON limits (empty_at);

-- `leased_until` is null while nobody holds a lease.
CREATE TABLE imports (
    id BLOB NOT NULL PRIMARY KEY,
    account BLOB NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    leased_until INTEGER,
    accepted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_by_wait ON imports (accepted_at, id);

-- Apart from `imports`, so that a step's progress does not rewrite the list.
CREATE TABLE import_lists (
    id BLOB NOT NULL PRIMARY KEY REFERENCES imports (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Names no account: house plan, decision 4.
CREATE TABLE pending_numbers (
    number BLOB NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_numbers_by_end ON pending_numbers (until);

-- Unmatched halves.
CREATE TABLE pairs (
    epoch INTEGER NOT NULL,
    hash BLOB NOT NULL,
    account BLOB NOT NULL,
    bit INTEGER NOT NULL,
    verified_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (epoch, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX pairs_by_account ON pairs (account);
CREATE INDEX pairs_by_expiry ON pairs (expires_at);

-- Two rows a match, one for each side. `other_expires_at` repeats the other row's `expires_at`.
CREATE TABLE matches (
    account BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    hash BLOB NOT NULL,
    other BLOB NOT NULL,
    bit INTEGER NOT NULL,
    verified_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    other_expires_at INTEGER NOT NULL,
    found_at INTEGER NOT NULL,
    PRIMARY KEY (account, epoch, hash, other)
) STRICT, WITHOUT ROWID;
CREATE INDEX matches_by_other ON matches (other);
CREATE INDEX matches_by_pair ON matches (epoch, hash);
CREATE INDEX matches_by_expiry ON matches (expires_at);

-- Outlives the removal of `other`.
CREATE TABLE dismissals (
    account BLOB NOT NULL,
    other BLOB NOT NULL,
    PRIMARY KEY (account, other)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    purpose TEXT NOT NULL,
    version INTEGER NOT NULL,
    "check" BLOB NOT NULL,
    PRIMARY KEY (purpose, version)
) STRICT, WITHOUT ROWID;
