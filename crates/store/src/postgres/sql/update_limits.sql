UPDATE limits SET level = bucket.level, at = bucket.at, empty_at = bucket.empty_at
FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS bucket (key, kind, level, at, empty_at)
WHERE limits.key = bucket.key AND limits.limit_kind = bucket.kind AND bucket.level > 0
