-- Times are milliseconds since 1970. Keys are keyed hashes or random ids, so rows come in no telling order.
--
-- Two sides. The pair side (`pairs`, `links`) is partitioned by pair hash and holds the truth about halves and matches.
-- The account side is partitioned by pseudonym; its `matches` are settled from `links` by unique key, and a link tells
-- by `settled` whether that has been done. What is said of partitions here is true of shards as well: no unique key and
-- no hot statement needs more than the partition key's own partition.
--
-- Dead rows are to go soon (docs/operations/postgresql.md, "Erasure"): each leaf says so to autovacuum.

-- A row lives from the first right guess to removal, or until `forget_at` with nothing left that names it; `generation`
-- tells one such life from the next.
CREATE TABLE accounts (
    generation bigint NOT NULL,
    synced_at bigint,
    forget_at bigint NOT NULL,
    account bytea NOT NULL PRIMARY KEY,
    sealed bytea NOT NULL
) PARTITION BY HASH (account);
CREATE INDEX accounts_by_forgetting ON accounts (forget_at);

-- `code_hash` and `sent_at` are null once the code is withdrawn: what stays is the count of wrong guesses.
CREATE TABLE codes (
    sent_at bigint,
    expires_at bigint NOT NULL,
    wrong bigint NOT NULL,
    account bytea NOT NULL PRIMARY KEY,
    code_hash bytea,
    number_hash bytea NOT NULL
) PARTITION BY HASH (account);
CREATE INDEX codes_by_expiry ON codes (expires_at);

CREATE TABLE tokens (
    expires_at bigint NOT NULL,
    account bytea NOT NULL,
    token bytea NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (account, token)
) PARTITION BY HASH (account);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- Leaky buckets. `level` counts 1/86,400,000 of a permit, so that a day's leak is exact in whole milliseconds.
-- `empty_at` is null where nothing ever leaks.
CREATE TABLE limits (
    level bigint NOT NULL,
    at bigint NOT NULL,
    empty_at bigint,
    limit_kind smallint NOT NULL,
    key bytea NOT NULL,
    PRIMARY KEY (key, limit_kind)
) PARTITION BY HASH (key);
CREATE INDEX limits_by_emptiness ON limits (empty_at);

-- One for each account. `leased_until` is null while nobody holds a lease. The list is sealed and does not compress;
-- a long one stands apart from the row, so that a step's progress does not rewrite it.
CREATE TABLE imports (
    generation bigint NOT NULL,
    total bigint NOT NULL,
    done bigint NOT NULL,
    fence bigint NOT NULL,
    leased_until bigint,
    accepted_at bigint NOT NULL,
    account bytea NOT NULL PRIMARY KEY,
    id bytea NOT NULL,
    sealed bytea NOT NULL
) PARTITION BY HASH (account);
ALTER TABLE imports ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX imports_by_wait ON imports (accepted_at, id);
CREATE INDEX imports_by_id ON imports (id);

-- Names no account.
CREATE TABLE pending_numbers (
    until bigint NOT NULL,
    number bytea NOT NULL PRIMARY KEY
) PARTITION BY HASH (number);
CREATE INDEX pending_numbers_by_end ON pending_numbers (until);

-- Unmatched halves. Whoever changes anything at a place (a pair hash and epoch) holds the lock on its row here.
CREATE TABLE pairs (
    verified_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    epoch integer NOT NULL,
    bit boolean NOT NULL,
    hash bytea NOT NULL,
    account bytea NOT NULL,
    PRIMARY KEY (hash, epoch)
) PARTITION BY HASH (hash);
CREATE INDEX pairs_by_account ON pairs (account);
CREATE INDEX pairs_by_expiry ON pairs (expires_at);

-- Matches, seen from the pair: `low` is the side whose pseudonym is the smaller. Not `settled`: the account side may
-- lack it, and the notices that are to go with it are still due at the times that stand here.
CREATE TABLE links (
    low_verified_at bigint NOT NULL,
    low_expires_at bigint NOT NULL,
    high_verified_at bigint NOT NULL,
    high_expires_at bigint NOT NULL,
    found_at bigint NOT NULL,
    notify_low_at bigint,
    notify_high_at bigint,
    notify_until bigint,
    epoch integer NOT NULL,
    low_bit boolean NOT NULL,
    high_bit boolean NOT NULL,
    settled boolean NOT NULL,
    hash bytea NOT NULL,
    low bytea NOT NULL,
    high bytea NOT NULL,
    PRIMARY KEY (hash, epoch, low, high)
) PARTITION BY HASH (hash);
CREATE INDEX links_by_expiry ON links (least(low_expires_at, high_expires_at));
CREATE INDEX links_unsettled ON links (hash, epoch) WHERE NOT settled;

-- Matches, seen from each of the two accounts: two rows a match.
CREATE TABLE matches (
    expires_at bigint NOT NULL,
    other_expires_at bigint NOT NULL,
    found_at bigint NOT NULL,
    epoch integer NOT NULL,
    account bytea NOT NULL,
    other bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (account, other, hash, epoch)
) PARTITION BY HASH (account);

-- Outlives the removal of `other`.
CREATE TABLE dismissals (
    account bytea NOT NULL,
    other bytea NOT NULL,
    PRIMARY KEY (account, other)
) PARTITION BY HASH (account);

-- Who is still to be told of a match with whom. `due_at` is null for a dead letter; `reason` says why the last attempt
-- failed.
CREATE TABLE notices (
    found_at bigint NOT NULL,
    due_at bigint,
    expires_at bigint NOT NULL,
    attempts bigint NOT NULL,
    account bytea NOT NULL,
    other bytea NOT NULL,
    reason text,
    PRIMARY KEY (account, other)
) PARTITION BY HASH (account);
CREATE INDEX notices_by_due ON notices (due_at);
CREATE INDEX notices_by_other ON notices (other);
CREATE INDEX notices_by_expiry ON notices (expires_at);

CREATE TABLE keys (
    purpose text NOT NULL,
    version bigint NOT NULL,
    "check" bytea NOT NULL,
    PRIMARY KEY (purpose, version)
);

-- Rows to lock where what is counted has none of its own.
CREATE TABLE gates (
    name text NOT NULL PRIMARY KEY
);
INSERT INTO gates VALUES ('accept');

DO $$
DECLARE
    parent text;
    parts integer;
BEGIN
    FOR parent, parts IN VALUES
        ('accounts', 4), ('codes', 4), ('tokens', 4), ('limits', 4), ('imports', 4), ('pending_numbers', 4),
        ('pairs', 16), ('links', 8), ('matches', 8), ('dismissals', 4), ('notices', 4)
    LOOP
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)
                 WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 50)',
                parent || '_' || part, parent, parts, part);
        END LOOP;
    END LOOP;
END
$$;
