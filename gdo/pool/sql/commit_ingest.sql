-- Take one file's parts into the pool. Beside the pool's tables it reads the temporary views new_sample,
-- new_media and new_bad (the parts) and the variable source_id; the caller holds the transaction.

-- One row is one row of the file whose id was there before, in the file or in the pool.
CREATE TEMP TABLE repeated AS
WITH head AS (
    SELECT qa_uid, line, id FROM new_sample WHERE turn = 0
), within AS (
    SELECT qa_uid, min(line) AS first_line FROM head GROUP BY qa_uid HAVING count(*) > 1
), found AS (
    SELECT head.line, head.id, 'first at line ' || first_line AS seen
    FROM head JOIN within USING (qa_uid)
    WHERE head.line > first_line
    UNION ALL
    SELECT head.line, head.id, 'in the pool from ' || source.path || ' line ' || sample.line
    FROM head JOIN sample USING (qa_uid) JOIN source ON source.source_id = sample.source_id
)
SELECT line, any_value(id) AS id, min(seen) AS seen FROM found GROUP BY line;

INSERT INTO bad_row
SELECT getvariable('source_id'), line, reason, detail, kept FROM new_bad ANTI JOIN repeated USING (line)
UNION ALL
SELECT getvariable('source_id'), line, 'duplicate id', id || ', ' || seen, false FROM repeated;

INSERT INTO sample
SELECT
    qa_uid, (getvariable('source_id')::BIGINT << 44) | (line << 12) | turn, getvariable('source_id'), line,
    id, turn, coalesce(bucket, getvariable('bucket')), video_uid, data_source, source_group, question,
    answer, media_ids, listed_frames, question_tokens, answer_tokens, answer_distinct, temporal_words, mcq, mcq_raw,
    uid_hash, text_hash, question_hash
FROM new_sample ANTI JOIN repeated USING (line);

-- The same medium may stand in many blocks of a file, and in the pool already.
INSERT INTO media (media_id, kind, root, paths)
SELECT media_id, kind, root, paths
FROM new_media
SEMI JOIN (SELECT media_id, min(line) AS line FROM new_media GROUP BY media_id) AS head USING (media_id, line)
ANTI JOIN media USING (media_id);
