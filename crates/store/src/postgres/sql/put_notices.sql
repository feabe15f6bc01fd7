-- Nobody is told of whom they have dismissed, or of whom they were matched with already.
INSERT INTO notices (account, other, found_at, due_at, expires_at, attempts)
SELECT told.account, told.other, told.found_at, told.due_at, told.expires_at, 0
FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS told (account, other, found_at, due_at, expires_at)
WHERE NOT EXISTS (
    SELECT 1 FROM dismissals WHERE dismissals.account = told.account AND dismissals.other = told.other)
AND NOT EXISTS (
    SELECT 1 FROM matches WHERE matches.account = told.account AND matches.other = told.other
    AND matches.expires_at > $6 AND matches.other_expires_at > $6)
ORDER BY 1, 2
ON CONFLICT (account, other) DO NOTHING
