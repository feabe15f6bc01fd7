DELETE FROM links USING unnest($1::bytea[], $2::integer[], $3::bytea[], $4::bytea[]) AS gone (hash, epoch, low, high)
WHERE links.hash = gone.hash AND links.epoch = gone.epoch AND links.low = gone.low AND links.high = gone.high
