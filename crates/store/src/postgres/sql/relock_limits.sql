SELECT limits.key, limits.limit_kind, level, at FROM unnest($1::bytea[], $2::smallint[]) AS bucket (key, kind)
JOIN limits ON limits.key = bucket.key AND limits.limit_kind = bucket.kind
ORDER BY 1, 2 FOR UPDATE OF limits
