-- One row is one medium of one member of a subset, by rank and place, with the member's text.
WITH shown AS (
    SELECT m.rank, s.qa_uid, s.data_source, s.bucket, s.source_group, s.question, s.answer,
           unnest(s.media_ids) AS media_id, generate_subscripts(s.media_ids, 1) AS position
    FROM subset_sample AS m JOIN sample AS s USING (qa_uid)
    WHERE m.subset = $subset AND m.role = $role AND m.rank >= $start AND m.rank < $stop
)
SELECT shown.rank, shown.qa_uid, shown.data_source, shown.bucket, shown.source_group, shown.question,
       shown.answer, shown.media_id, media.kind, media.root, media.paths
FROM shown LEFT JOIN media USING (media_id)
ORDER BY shown.rank, shown.position
