UPDATE links SET settled = true, notify_low_at = NULL, notify_high_at = NULL, notify_until = NULL
FROM unnest($1::bytea[], $2::integer[], $3::bytea[], $4::bytea[]) AS done (hash, epoch, low, high)
WHERE links.hash = done.hash AND links.epoch = done.epoch AND links.low = done.low AND links.high = done.high
