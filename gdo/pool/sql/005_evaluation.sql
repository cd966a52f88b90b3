-- What trained models said to held-out questions: `gdo evaluate`. It stands in the pool that the questions come
-- from, or in the one that --pool names; the same is in Parquet beside each run.

-- One row is one checkpoint that was asked one set of questions.
CREATE TABLE evaluation (
    evaluation VARCHAR,        -- what the set of questions is called
    target VARCHAR,            -- folder of the run, or the model as it was named
    step BIGINT,               -- steps done; 0 for a model that gdo did not train
    model VARCHAR,             -- where the training started
    subset VARCHAR,            -- that was trained on; NULL for a file's samples, and for a model
    uniform BOOLEAN,           -- trained on the subset's uniform control; NULL for a model, as all from here
    multiple DOUBLE,           -- size of the control in subsets; NULL for all of it
    data VARCHAR,              -- JSON: path, subset, uniform, multiple, mix
    recipe VARCHAR,            -- its name
    seed BIGINT,               -- of the recipe
    samples BIGINT,            -- trained on up to this checkpoint, as are the next five; 0 for a model
    tokens BIGINT,             -- theirs, media included
    answer_tokens BIGINT,      -- those that were learned
    frames BIGINT,             -- pictures shown
    flops DOUBLE,              -- operations of the model
    seconds DOUBLE,            -- of training, without loading and saving
    asked_by VARCHAR,          -- gdo or lmms-eval
    settings VARCHAR,          -- JSON: questions and their digest, frames and pixels
    questions BIGINT,
    errors BIGINT,             -- questions that could not be asked: neither right nor wrong
    correct BIGINT,
    accuracy DOUBLE,           -- correct among those without an error, 0 to 1; NULL where there are none
    accuracy_by_sum DOUBLE,    -- the same, options taken by summed loss
    loss DOUBLE,               -- mean over questions of the right answer's loss, nats per token
    reported DOUBLE,           -- the benchmark's own score, in its own unit; NULL where gdo asked
    evaluated TIMESTAMP        -- when it was put here
);

-- One row is one question asked of one checkpoint.
CREATE TABLE evaluation_answer (
    evaluation VARCHAR,
    target VARCHAR,
    step BIGINT,
    qa_uid VARCHAR,            -- the question's id in its set; for lmms-eval TASK::number
    kind VARCHAR,              -- of question: what accuracies are told by
    form VARCHAR,              -- choice, free, or lmms where lmms-eval asked
    answer VARCHAR,            -- what is right
    said VARCHAR,              -- option of the lowest mean loss per token, or the greedy answer
    correct BOOLEAN,
    said_by_sum VARCHAR,       -- option of the lowest summed loss; NULL for others than choice
    correct_by_sum BOOLEAN,
    loss DOUBLE,               -- of the right answer, nats per token; NULL where lmms-eval asked
    error VARCHAR              -- why it could not be asked; the others are NULL then
);

-- One row is one kind of question asked of one checkpoint.
CREATE VIEW evaluation_kind AS
SELECT
    evaluation, target, step, kind,
    count(*) AS questions,
    count(error) AS errors,
    count(*) FILTER (correct AND error IS NULL) AS correct,
    avg(correct::INTEGER) FILTER (error IS NULL) AS accuracy,
    avg(loss) AS loss
FROM evaluation_answer
GROUP BY ALL;
