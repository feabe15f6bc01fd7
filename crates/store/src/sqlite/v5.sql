-- What a verification token is good for: 0 importing contacts, 1 a listing.
ALTER TABLE tokens ADD COLUMN token_use INTEGER NOT NULL DEFAULT 0;

-- Those who want to be found: one row for each identifier, with identifier and names sealed. `revision` is the number of the
-- change that made the row what it is.
CREATE TABLE listings (
    listing BLOB NOT NULL PRIMARY KEY,
    account BLOB NOT NULL,
    sealed BLOB NOT NULL,
    verified_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX listings_by_account ON listings (account);
CREATE INDEX listings_by_expiry ON listings (expires_at);

-- What makes a listing stand in the index of a profile and an epoch: where, and what is found there, both sealed.
CREATE TABLE placements (
    profile INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    listing BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (profile, epoch, listing)
) STRICT, WITHOUT ROWID;
CREATE INDEX placements_by_listing ON placements (listing);

-- Which listings changed, for those who keep an index in memory; for a day. No number comes again.
CREATE TABLE listing_changes (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    listing BLOB NOT NULL
) STRICT;
CREATE INDEX listing_changes_by_time ON listing_changes (at);

-- Keys and layouts of the directory.
CREATE TABLE directory_records (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    content BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
