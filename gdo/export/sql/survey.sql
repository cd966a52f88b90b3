-- One row is one kind of medium under one root among the members of a subset: the first rank that shows it,
-- and the most of it that one member shows.
WITH shown AS (
    SELECT m.rank, unnest(s.media_ids) AS media_id
    FROM subset_sample AS m JOIN sample AS s USING (qa_uid)
    WHERE m.subset = $subset AND m.role = $role AND m.rank < $stop
),
per_member AS (
    SELECT shown.rank, media.kind, media.root, count(*) AS media
    FROM shown JOIN media USING (media_id)
    GROUP BY ALL
)
SELECT kind, coalesce(root, '') AS root, min(rank) AS first_rank, max(media) AS most
FROM per_member
GROUP BY ALL
ORDER BY kind, root
