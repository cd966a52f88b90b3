-- Near-duplicates: which media show the same, which samples ask the same of them, and how that was found.

-- One row is one search; each takes the place of the one before, with all its groups.
CREATE TABLE duplicate_search (
    threshold DOUBLE,          -- least similarity of media that count as the same
    fingerprint INTEGER,       -- version of descriptor `fingerprint`
    parameters VARCHAR,        -- JSON: whatever else the groups depend on
    media BIGINT,              -- media that could be compared
    media_unseen BIGINT,       -- media without a fingerprint: unreadable, or of one colour
    samples BIGINT,
    searched TIMESTAMP         -- samples ingested later are in no group
);

-- One row is one medium that shows the same as another one.
CREATE TABLE media_duplicate (
    media_id UBIGINT,
    duplicate_group BIGINT,    -- from 0, in the order of the groups' smallest media_id
    similarity DOUBLE          -- to the most similar other one, 0 to 1
);

-- One row is one sample that asks the same as another one, of the same media or of duplicates of them.
CREATE TABLE sample_duplicate (
    qa_uid VARCHAR,
    duplicate_group BIGINT,    -- from 0, in the order of the groups' first sample
    similarity DOUBLE          -- of its media to its most similar partner's; 1 for the same media
);
