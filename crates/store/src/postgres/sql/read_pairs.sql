SELECT pairs.hash, pairs.epoch, account, bit, verified_at, expires_at
FROM unnest($1::bytea[], $2::integer[]) AS place (hash, epoch)
JOIN pairs ON pairs.hash = place.hash AND pairs.epoch = place.epoch
