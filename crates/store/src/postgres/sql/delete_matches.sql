DELETE FROM matches
USING unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::integer[]) AS gone (account, other, hash, epoch)
WHERE matches.account = gone.account AND matches.other = gone.other
AND matches.hash = gone.hash AND matches.epoch = gone.epoch
