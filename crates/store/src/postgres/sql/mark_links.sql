INSERT INTO links (hash, epoch, low, high, low_bit, high_bit, low_verified_at, low_expires_at,
    high_verified_at, high_expires_at, found_at, notify_low_at, notify_high_at, notify_until, settled)
SELECT *, false FROM unnest($1::bytea[], $2::integer[], $3::bytea[], $4::bytea[], $5::boolean[], $6::boolean[],
    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
ORDER BY 1, 2, 3, 4
ON CONFLICT (hash, epoch, low, high) DO UPDATE
SET low_bit = excluded.low_bit, high_bit = excluded.high_bit,
    low_verified_at = excluded.low_verified_at, low_expires_at = excluded.low_expires_at,
    high_verified_at = excluded.high_verified_at, high_expires_at = excluded.high_expires_at,
    notify_low_at = excluded.notify_low_at, notify_high_at = excluded.notify_high_at,
    notify_until = excluded.notify_until, settled = false
