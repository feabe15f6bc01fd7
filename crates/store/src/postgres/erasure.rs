//! Writing tables anew: the only way to rid PostgreSQL's files of what was deleted. `VACUUM` lets the room be used
//! again, and leaves the bytes there until it is.

use super::unit::{Result, Unit};

/// Every table of ours that holds rows, as quoted names.
pub(super) async fn partitions(unit: &Unit) -> Result<Vec<String>> {
    let rows = unit
        .query(
            "SELECT leaf.relid::regclass::text
             FROM unnest(ARRAY['accounts', 'codes', 'tokens', 'limits', 'imports', 'pending_numbers', 'pairs',
                               'links', 'matches', 'dismissals', 'notices']) AS ours (name),
                  pg_partition_tree(ours.name::regclass) AS leaf
             WHERE leaf.isleaf ORDER BY 1",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub(super) async fn rewrite(unit: &Unit, partition: &str) -> Result<()> {
    unit.run_alone(&format!("VACUUM (FULL) {partition}")).await
}
