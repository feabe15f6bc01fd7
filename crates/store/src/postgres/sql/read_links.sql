SELECT links.hash, links.epoch, low, low_bit, low_verified_at, low_expires_at,
       high, high_bit, high_verified_at, high_expires_at,
       found_at, settled, notify_low_at, notify_high_at, notify_until
FROM unnest($1::bytea[], $2::integer[]) AS place (hash, epoch)
JOIN links ON links.hash = place.hash AND links.epoch = place.epoch
