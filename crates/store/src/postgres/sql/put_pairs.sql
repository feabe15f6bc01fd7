INSERT INTO pairs (hash, epoch, account, bit, verified_at, expires_at)
SELECT * FROM unnest($1::bytea[], $2::integer[], $3::bytea[], $4::boolean[], $5::bigint[], $6::bigint[])
    AS half (hash, epoch, account, bit, verified_at, expires_at)
ORDER BY hash, epoch
ON CONFLICT (hash, epoch) DO UPDATE
SET account = excluded.account, bit = excluded.bit,
    verified_at = excluded.verified_at, expires_at = excluded.expires_at
