//! Writing tables anew: the only way to rid PostgreSQL's files of what was deleted. `VACUUM` lets the room be used
//! again, and leaves the bytes there until it is.

use super::error::DatabaseError;
use super::unit::{Result, Unit};

/// Every table of ours that holds rows, as quoted names. Refused where the role does not own one: PostgreSQL would pass
/// over it without an error.
pub(super) async fn partitions(unit: &Unit) -> Result<Vec<String>> {
    let rows = unit
        .query(
            "SELECT leaf.relid::regclass::text, pg_has_role(relowner, 'USAGE')
             FROM (SELECT tree.relid
                   FROM unnest(ARRAY['accounts', 'codes', 'tokens', 'limits', 'imports', 'pending_numbers', 'pairs',
                                     'links', 'matches', 'dismissals', 'notices', 'answers', 'paid', 'used',
                                     'follows', 'departures', 'proofs', 'listings', 'placements']) AS ours (name),
                        pg_partition_tree(ours.name::regclass) AS tree
                   WHERE tree.isleaf
                   UNION ALL SELECT name::regclass FROM unnest(ARRAY['events', 'event_queue', 'listing_changes',
                                                                 'directory_records']) AS whole (name)) AS leaf
             JOIN pg_class ON pg_class.oid = leaf.relid ORDER BY 1",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| match row.try_get(1)? {
            true => Ok(row.try_get(0)?),
            // insufficient_privilege
            false => Err(DatabaseError::Refused { code: "42501".to_owned() }),
        })
        .collect()
}

pub(super) async fn rewrite(unit: &Unit, partition: &str) -> Result<()> {
    unit.run_alone(&format!("VACUUM (FULL) {partition}")).await
}
