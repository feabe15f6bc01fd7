DELETE FROM limits USING unnest($1::bytea[], $2::smallint[], $3::bigint[]) AS bucket (key, kind, level)
WHERE limits.key = bucket.key AND limits.limit_kind = bucket.kind AND bucket.level = 0
