//! What is carried: the kinds of rows and their columns. **A new column of a table is one line here.**
//!
//! A kind is the same for both stores, although their tables differ: a match is one row here, an import comes with its
//! list. What ends by itself or belongs to running servers is not carried: answers, gates, leases, heart-beats, who reads a
//! stream.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An integer of 64 bits.
    Whole,
    /// As [`Form::Whole`], where PostgreSQL's type has this name and less room.
    Narrow(&'static str),
    /// An epoch, unsigned with 32 bits. PostgreSQL has no such integers and keeps the bits.
    Epoch,
    /// 0 or 1; a boolean in PostgreSQL.
    Bit,
    /// So many bytes.
    Exactly(usize),
    /// Bytes.
    Bytes,
    /// UTF-8.
    Text,
}

/// A column of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, as in both stores' tables.
    pub name: &'static str,
    /// What it holds.
    pub form: Form,
    /// Whether it can be null.
    pub null: bool,
    /// What is in it of a release that did not have it; without that, such a release's rows cannot be completed.
    pub absent: Option<i64>,
}

/// A kind of rows.
#[derive(Debug)]
pub struct Kind {
    /// Its name, as in export files and reports.
    pub name: &'static str,
    /// Its columns, in the order in which they are carried.
    pub columns: &'static [Column],
    /// How many rows are read at once; less where they are large.
    pub batch: usize,
    /// What is found in the embedded store.
    pub(crate) embedded: Place,
    /// What is found in PostgreSQL.
    pub(crate) postgres: Place,
}

/// Where a store keeps a kind.
#[derive(Debug)]
pub(crate) struct Place {
    /// What rows are selected from, with the kind's columns by their names.
    pub(crate) from: &'static str,
    /// How rows are counted, where not all of `from`.
    pub(crate) counted: Option<&'static str>,
    /// The columns of the unique key by which rows are read in order.
    pub(crate) key: &'static [&'static str],
    /// How rows are put there, where a plain `INSERT` into `from` does not do. In SQLite, statements with parameters
    /// named as the columns; in PostgreSQL one that selects from `moved`.
    pub(crate) put: &'static [&'static str],
}

const fn column(name: &'static str, form: Form) -> Column {
    Column { name, form, null: false, absent: None }
}

const fn whole(name: &'static str) -> Column {
    column(name, Form::Whole)
}

const fn id(name: &'static str) -> Column {
    column(name, Form::Exactly(16))
}

const fn hash(name: &'static str) -> Column {
    column(name, Form::Exactly(32))
}

const fn or_null(column: Column) -> Column {
    Column { null: true, ..column }
}

const fn else_zero(column: Column) -> Column {
    Column { absent: Some(0), ..column }
}

const fn table(from: &'static str, key: &'static [&'static str]) -> Place {
    Place { from, counted: None, key, put: &[] }
}

/// The index of `keys` in [`KINDS`]: they come first, so that a file's can be looked at before anything else of it.
pub const KEYS: usize = 0;

/// Every kind, in the order in which they are carried.
pub static KINDS: [Kind; 22] = [
    Kind {
        name: "keys",
        columns: &[
            column("purpose", Form::Text),
            whole("version"),
            column("check", Form::Bytes),
            // Which epoch is current, and which are retired.
            whole("state"),
        ],
        batch: 1000,
        embedded: table("keys", &["purpose", "version"]),
        postgres: table("keys", &["purpose", "version"]),
    },
    Kind {
        name: "accounts",
        columns: &[
            id("account"),
            column("sealed", Form::Bytes),
            whole("generation"),
            or_null(whole("synced_at")),
            whole("forget_at"),
        ],
        batch: 2000,
        embedded: table("accounts", &["account"]),
        postgres: table("accounts", &["account"]),
    },
    Kind {
        name: "codes",
        columns: &[
            id("account"),
            or_null(hash("code_hash")),
            hash("number_hash"),
            or_null(whole("sent_at")),
            whole("expires_at"),
            whole("wrong"),
        ],
        batch: 2000,
        embedded: table("codes", &["account"]),
        postgres: table("codes", &["account"]),
    },
    Kind {
        name: "tokens",
        columns: &[
            id("token"),
            id("account"),
            column("sealed", Form::Bytes),
            whole("expires_at"),
            // What it is good for: in earlier releases always importing.
            else_zero(column("token_use", Form::Narrow("smallint"))),
        ],
        batch: 2000,
        embedded: table("tokens", &["token"]),
        postgres: table("tokens", &["account", "token"]),
    },
    Kind {
        name: "limits",
        columns: &[
            column("limit_kind", Form::Narrow("smallint")),
            column("key", Form::Bytes),
            whole("level"),
            whole("at"),
            or_null(whole("empty_at")),
        ],
        batch: 2000,
        embedded: table("limits", &["limit_kind", "key"]),
        postgres: table("limits", &["key", "limit_kind"]),
    },
    // Nobody's lease: whoever held one does not work on this store. The fence is kept, so that it only grows.
    Kind {
        name: "imports",
        columns: &[
            id("id"),
            id("account"),
            whole("generation"),
            whole("total"),
            whole("done"),
            whole("fence"),
            whole("accepted_at"),
            column("sealed", Form::Bytes),
        ],
        batch: 8,
        embedded: Place {
            from: "imports JOIN import_lists USING (id)",
            counted: Some("SELECT count(*) FROM imports"),
            key: &["id"],
            put: &[
                "INSERT INTO imports (id, account, generation, total, done, fence, accepted_at)
                 VALUES (:id, :account, :generation, :total, :done, :fence, :accepted_at)",
                "INSERT INTO import_lists (id, sealed) VALUES (:id, :sealed)",
            ],
        },
        postgres: table("imports", &["account"]),
    },
    Kind {
        name: "pending_numbers",
        columns: &[hash("number"), whole("until")],
        batch: 2000,
        embedded: table("pending_numbers", &["number"]),
        postgres: table("pending_numbers", &["number"]),
    },
    // Unmatched halves.
    Kind {
        name: "pairs",
        columns: &[
            column("epoch", Form::Epoch),
            hash("hash"),
            id("account"),
            column("bit", Form::Bit),
            whole("verified_at"),
            whole("expires_at"),
        ],
        batch: 2000,
        embedded: table("pairs", &["epoch", "hash"]),
        postgres: table("pairs", &["hash", "epoch"]),
    },
    // One row for a match, with both sides; `low` is the smaller pseudonym.
    Kind {
        name: "matches",
        columns: &[
            column("epoch", Form::Epoch),
            hash("hash"),
            id("low"),
            column("low_bit", Form::Bit),
            whole("low_verified_at"),
            whole("low_expires_at"),
            id("high"),
            column("high_bit", Form::Bit),
            whole("high_verified_at"),
            whole("high_expires_at"),
            whole("found_at"),
        ],
        batch: 1000,
        embedded: Place {
            from: "(SELECT low.epoch, low.hash, low.found_at,
                        low.account AS low, low.bit AS low_bit,
                        low.verified_at AS low_verified_at, low.expires_at AS low_expires_at,
                        high.account AS high, high.bit AS high_bit,
                        high.verified_at AS high_verified_at, high.expires_at AS high_expires_at
                    FROM matches AS low CROSS JOIN matches AS high
                    ON high.account = low.other AND high.epoch = low.epoch AND high.hash = low.hash
                    AND high.other = low.account
                    WHERE low.account < low.other)",
            // So that a row whose other side is missing shows as a match that was not carried.
            counted: Some("SELECT (count(*) + 1) / 2 FROM matches"),
            key: &["low", "epoch", "hash", "high"],
            put: &[
                "INSERT INTO matches (account, epoch, hash, other, bit, verified_at, expires_at, other_expires_at, found_at)
                 VALUES (:low, :epoch, :hash, :high, :low_bit, :low_verified_at, :low_expires_at, :high_expires_at,
                         :found_at)",
                "INSERT INTO matches (account, epoch, hash, other, bit, verified_at, expires_at, other_expires_at, found_at)
                 VALUES (:high, :epoch, :hash, :low, :high_bit, :high_verified_at, :high_expires_at, :low_expires_at,
                         :found_at)",
            ],
        },
        postgres: Place {
            from: "links",
            counted: None,
            key: &["hash", "epoch", "low", "high"],
            put: &[
                ", linked AS (
                     INSERT INTO links (hash, epoch, low, low_bit, low_verified_at, low_expires_at,
                                        high, high_bit, high_verified_at, high_expires_at, found_at, settled)
                     SELECT hash, epoch, low, low_bit, low_verified_at, low_expires_at,
                            high, high_bit, high_verified_at, high_expires_at, found_at, true FROM moved)
                 INSERT INTO matches (account, other, hash, epoch, expires_at, other_expires_at, found_at)
                 SELECT low, high, hash, epoch, low_expires_at, high_expires_at, found_at FROM moved
                 UNION ALL
                 SELECT high, low, hash, epoch, high_expires_at, low_expires_at, found_at FROM moved",
            ],
        },
    },
    Kind {
        name: "dismissals",
        columns: &[id("account"), id("other")],
        batch: 2000,
        embedded: table("dismissals", &["account", "other"]),
        postgres: table("dismissals", &["account", "other"]),
    },
    Kind {
        name: "notices",
        columns: &[
            id("account"),
            id("other"),
            whole("found_at"),
            or_null(whole("due_at")),
            whole("attempts"),
            or_null(column("reason", Form::Text)),
            whole("expires_at"),
        ],
        batch: 2000,
        embedded: table("notices", &["account", "other"]),
        postgres: table("notices", &["account", "other"]),
    },
    // Else an answer that was lost in the move would be paid for twice.
    Kind {
        name: "paid",
        columns: &[id("account"), id("request"), hash("digest"), whole("expires_at")],
        batch: 2000,
        embedded: table("paid", &["account", "request"]),
        postgres: table("paid", &["account", "request"]),
    },
    // Else what was used before the move could be used again after it.
    Kind {
        name: "used",
        columns: &[hash("id"), whole("expires_at")],
        batch: 2000,
        embedded: table("used", &["id"]),
        postgres: table("used", &["id"]),
    },
    // With their numbers, so that who follows the log goes on where it was.
    Kind {
        name: "events",
        columns: &[
            whole("id"),
            whole("at"),
            column("kind", Form::Narrow("smallint")),
            or_null(id("account")),
            column("details", Form::Text),
        ],
        batch: 2000,
        embedded: table("events", &["id"]),
        postgres: Place {
            from: "events",
            counted: None,
            key: &["id"],
            put: &[
                ", put AS (
                     INSERT INTO events (id, at, kind, account, details)
                     SELECT id, at, kind, account, details FROM moved RETURNING id)
                 SELECT setval(pg_get_serial_sequence('events', 'id'), max(id)) FROM put",
            ],
        },
    },
    Kind {
        name: "event_queue",
        columns: &[whole("event"), whole("attempts"), whole("due_at")],
        batch: 2000,
        embedded: table("event_queue", &["event"]),
        postgres: table("event_queue", &["event"]),
    },
    Kind {
        name: "follows",
        columns: &[id("account"), id("record"), id("other"), whole("due_at")],
        batch: 2000,
        embedded: table("follows", &["account", "record"]),
        postgres: table("follows", &["account", "record"]),
    },
    Kind {
        name: "streams",
        columns: &[column("stream", Form::Text), or_null(whole("cursor"))],
        batch: 2000,
        embedded: table("streams", &["stream"]),
        postgres: table("streams", &["stream"]),
    },
    Kind {
        name: "departures",
        columns: &[id("account"), whole("due_at"), whole("attempts")],
        batch: 2000,
        embedded: table("departures", &["account"]),
        postgres: table("departures", &["account"]),
    },
    Kind {
        name: "proofs",
        columns: &[id("account"), whole("expires_at")],
        batch: 2000,
        embedded: table("proofs", &["account"]),
        postgres: table("proofs", &["account"]),
    },
    // Changes are not carried, since whoever follows them does not outlive the move; but none gets a number that a listing
    // already has as its revision.
    Kind {
        name: "listings",
        columns: &[
            id("listing"),
            id("account"),
            column("sealed", Form::Bytes),
            whole("verified_at"),
            whole("expires_at"),
            whole("revision"),
        ],
        batch: 2000,
        embedded: Place {
            from: "listings",
            counted: None,
            key: &["listing"],
            put: &[
                "INSERT INTO listings (listing, account, sealed, verified_at, expires_at, revision)
                 VALUES (:listing, :account, :sealed, :verified_at, :expires_at, :revision)",
                "INSERT INTO sqlite_sequence (name, seq) SELECT 'listing_changes', 0
                 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'listing_changes')",
                "UPDATE sqlite_sequence SET seq = :revision WHERE name = 'listing_changes' AND seq < :revision",
            ],
        },
        postgres: Place {
            from: "listings",
            counted: None,
            key: &["listing"],
            put: &[
                ", put AS (
                     INSERT INTO listings (listing, account, sealed, verified_at, expires_at, revision)
                     SELECT listing, account, sealed, verified_at, expires_at, revision FROM moved RETURNING revision)
                 SELECT setval(name, greatest(max(revision), nextval(name)))
                 FROM put, CAST(pg_get_serial_sequence('listing_changes', 'id') AS regclass) AS sequence (name)
                 GROUP BY name",
            ],
        },
    },
    Kind {
        name: "placements",
        columns: &[
            column("profile", Form::Narrow("smallint")),
            whole("epoch"),
            id("listing"),
            column("sealed", Form::Bytes),
        ],
        batch: 2000,
        embedded: table("placements", &["profile", "epoch", "listing"]),
        postgres: table("placements", &["profile", "epoch", "listing"]),
    },
    Kind {
        name: "directory_records",
        columns: &[
            column("name", Form::Text),
            whole("version"),
            column("state", Form::Narrow("smallint")),
            column("content", Form::Bytes),
            whole("made_at"),
        ],
        batch: 100,
        embedded: table("directory_records", &["name", "version"]),
        postgres: table("directory_records", &["name", "version"]),
    },
];

/// Kinds that a server writes that has served nobody: a sink gives up what it finds of them.
pub(crate) const SELF_MADE: [&str; 3] = ["keys", "streams", "directory_records"];

impl Kind {
    /// The kind at an index of [`KINDS`].
    ///
    /// # Errors
    /// [`TransferError::Unreadable`](super::TransferError::Unreadable) where there is none.
    pub fn at(index: usize) -> Result<&'static Self, super::TransferError> {
        KINDS.get(index).ok_or(super::TransferError::Unreadable("it names a kind of rows that is not known"))
    }

    /// The columns of a key, by their indexes.
    pub(crate) fn key(&self, place: &Place) -> Vec<usize> {
        let at = |name: &&str| self.columns.iter().position(|column| column.name == *name);
        place.key.iter().filter_map(at).collect()
    }

    /// The columns' names, quoted and parted by commas.
    pub(crate) fn names(&self) -> String {
        let quoted: Vec<String> = self.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        quoted.join(", ")
    }
}
