-- The first schema. There are no primary keys: an index over tens of millions of rows costs memory that
-- ingest promises not to use; the writers keep the keys unique and the tests hold them to it.

-- One row is one ingested file or folder.
CREATE TABLE source (
    source_id INTEGER,         -- order of ingestion, from 1
    path VARCHAR,              -- as resolved when it was ingested
    format VARCHAR,            -- container and shape the rows were read as
    kind VARCHAR,              -- image or video: all rows of a file share it
    name VARCHAR,              -- --source-name, part of the ids; NULL where not given
    media_root VARCHAR,        -- folder that relative media paths start from
    fingerprint VARCHAR,       -- sha256 of the content
    settings VARCHAR,          -- JSON: the options that change what is read
    rows_read BIGINT,
    rows_bad BIGINT,
    samples BIGINT,
    ingested TIMESTAMP
);

-- One row is one input row that gave no sample (kept = false), or gave one with a flaw worth knowing.
CREATE TABLE bad_row (
    source_id INTEGER,
    line BIGINT,               -- 1-based line, or row number in files without lines
    reason VARCHAR,            -- one of a small set, to count by
    detail VARCHAR,
    kept BOOLEAN
);

-- One row is one image, frame list or video file.
CREATE TABLE media (
    media_id UBIGINT,          -- hash of kind, root and paths
    kind VARCHAR,              -- image, frames or video
    root VARCHAR,              -- folder that relative paths start from
    paths VARCHAR[],           -- one path, or the frames in time order
    bytes BIGINT,              -- file size; from here on NULL until probed
    width INTEGER,             -- upright, in pixels
    height INTEGER,
    fps DOUBLE,
    frames INTEGER,
    duration DOUBLE,           -- seconds
    error VARCHAR              -- why it cannot be read, or what is damaged
);

-- One row is one question-answer pair.
CREATE TABLE sample (
    qa_uid VARCHAR,
    ordinal BIGINT,            -- place in the order of ingestion: source, line, turn
    source_id INTEGER,
    line BIGINT,
    id VARCHAR,                -- the row's own id, or the one made from its line
    turn INTEGER,              -- number of the pair in its row, from 0
    bucket VARCHAR,            -- image_qa, short_video or synthetic_text_video
    video_uid VARCHAR,         -- what the per-video cap counts by; empty for images
    data_source VARCHAR,
    source_group VARCHAR,
    question VARCHAR,          -- without media tags, line breaks kept
    answer VARCHAR,
    media_ids UBIGINT[],
    listed_frames INTEGER,     -- frames or images listed in the row; NULL where a video file must be asked
    question_tokens INTEGER,   -- matches of [A-Za-z0-9_]+ in the lower-cased text
    answer_tokens INTEGER,
    answer_distinct INTEGER,   -- distinct answer tokens
    temporal_words BOOLEAN,    -- the question has a word of the released list
    mcq BOOLEAN,               -- by the normalised question, as released
    mcq_raw BOOLEAN,           -- by the question with its line breaks
    uid_hash UBIGINT,          -- 64 bits of XXH3(qa_uid): breaks ties, orders the uniform control
    text_hash UBIGINT,         -- 64 bits of XXH3(question|||answer), both normalised
    question_hash UBIGINT      -- 64 bits of XXH3(question), normalised: the benchmark guard
);

-- One row is one place of a medium in a sample.
CREATE VIEW sample_media AS
SELECT qa_uid, generate_subscripts(media_ids, 1) - 1 AS position, unnest(media_ids) AS media_id
FROM sample;

-- One row is one descriptor and the version of it that `candidate` shows.
CREATE TABLE descriptor (
    name VARCHAR,
    subject VARCHAR,           -- media or sample
    version INTEGER,
    probe VARCHAR,             -- the model that made the values; empty where there is none
    columns VARCHAR            -- JSON: column -> {type, unit, doc}
);

-- One row is what was computed elsewhere for one qa_uid; ids that no sample has are kept, because the
-- released score takes its mean and spread over every row of the metrics file.
CREATE TABLE imported (
    qa_uid VARCHAR,
    amm DOUBLE,
    frame_diversity DOUBLE,
    loss_blind DOUBLE,
    loss_video DOUBLE,
    vds DOUBLE,
    ppl DOUBLE,
    tnc DOUBLE,
    self_consistency DOUBLE,
    cluster_id BIGINT,
    cluster_dist DOUBLE,
    cluster_rep DOUBLE,
    cluster_hard DOUBLE,
    quality_score DOUBLE
);

-- One row is one selection.
CREATE TABLE subset (
    subset VARCHAR,
    preset VARCHAR,            -- name of the preset
    parameters VARCHAR,        -- JSON: the preset as resolved
    seed BIGINT,
    pool_fingerprint VARCHAR,  -- digest of everything the selection read
    versions VARCHAR,          -- JSON
    report VARCHAR,            -- JSON: spec section 7
    created TIMESTAMP
);

-- One row is one member of a subset or of its uniform control.
CREATE TABLE subset_sample (
    subset VARCHAR,
    role VARCHAR,              -- chosen or uniform
    qa_uid VARCHAR,
    rank INTEGER,              -- from 0, in the order of selection
    score DOUBLE,              -- rho; NULL for the uniform control
    stage VARCHAR
);

-- One row is one command that changed the pool.
CREATE TABLE run (
    run_id BIGINT,
    command VARCHAR,
    arguments VARCHAR,         -- JSON
    versions VARCHAR,          -- JSON
    started TIMESTAMP,
    ended TIMESTAMP
);

-- The strata of the spec's section 2, as functions of what is stored; `candidate` shows the released form.
CREATE MACRO kept_frames(listed, probed, target) AS least(coalesce(listed, probed, target), target);

CREATE MACRO duration_of(frames) AS CASE
    WHEN frames <= 1 THEN 'image' WHEN frames <= 8 THEN 'very_short' WHEN frames <= 24 THEN 'short'
    WHEN frames <= 64 THEN 'medium' WHEN frames <= 160 THEN 'long' ELSE 'very_long' END;

CREATE MACRO temporal_of(bucket, temporal_words) AS CASE
    WHEN bucket = 'image_qa' THEN 'Static' WHEN temporal_words THEN 'Temporal' ELSE 'Mixed' END;

CREATE MACRO q_len_of(tokens) AS CASE
    WHEN tokens <= 6 THEN 'q_tiny' WHEN tokens <= 14 THEN 'q_short' WHEN tokens <= 30 THEN 'q_medium'
    WHEN tokens <= 60 THEN 'q_long' ELSE 'q_very_long' END;

CREATE MACRO a_len_of(tokens) AS CASE
    WHEN tokens <= 2 THEN 'a_tiny' WHEN tokens <= 8 THEN 'a_short' WHEN tokens <= 24 THEN 'a_medium'
    WHEN tokens <= 64 THEN 'a_long' ELSE 'a_very_long' END;
