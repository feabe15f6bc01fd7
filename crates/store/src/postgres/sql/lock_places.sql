-- Locks each place by its row; returns those where this put one. The row that stands is locked and left as it is.
INSERT INTO pairs (hash, epoch, account, bit, verified_at, expires_at)
SELECT * FROM unnest($1::bytea[], $2::integer[], $3::bytea[], $4::boolean[], $5::bigint[], $6::bigint[])
    AS half (hash, epoch, account, bit, verified_at, expires_at)
ORDER BY hash, epoch
ON CONFLICT (hash, epoch) DO UPDATE SET epoch = pairs.epoch WHERE false
RETURNING hash, epoch
