DELETE FROM pairs USING unnest($1::bytea[], $2::integer[]) AS place (hash, epoch)
WHERE pairs.hash = place.hash AND pairs.epoch = place.epoch
