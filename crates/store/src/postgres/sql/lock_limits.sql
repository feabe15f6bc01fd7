INSERT INTO limits (key, limit_kind, level, at)
SELECT key, kind, 0, 0 FROM unnest($1::bytea[], $2::smallint[]) AS bucket (key, kind) ORDER BY key, kind
ON CONFLICT (key, limit_kind) DO UPDATE SET level = limits.level WHERE false
