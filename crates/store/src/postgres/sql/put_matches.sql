INSERT INTO matches (account, other, hash, epoch, expires_at, other_expires_at, found_at)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[])
ORDER BY 1, 2, 3, 4
ON CONFLICT (account, other, hash, epoch) DO UPDATE
SET expires_at = excluded.expires_at, other_expires_at = excluded.other_expires_at, found_at = excluded.found_at
