-- One row is one kind of medium under one root among the members of a subset: the first rank that shows it,
-- the most of it that one member shows, and whether some of it are pictures of text, which count as images.
WITH shown AS (
    SELECT m.rank, s.bucket = $synthetic AS synthetic, unnest(s.media_ids) AS media_id
    FROM subset_sample AS m JOIN sample AS s USING (qa_uid)
    WHERE m.subset = $subset AND m.role = $role AND m.rank < $stop
),
per_member AS (
    SELECT shown.rank, shown.synthetic, media.root, count(*) AS media,
           if(shown.synthetic AND media.kind = 'frames', 'image', media.kind) AS written
    FROM shown JOIN media USING (media_id)
    GROUP BY ALL
)
SELECT written, coalesce(root, '') AS root, min(rank) AS first_rank, max(media) AS most,
       coalesce(bool_or(synthetic), false) AS synthetic
FROM per_member
GROUP BY ALL
ORDER BY written, root
