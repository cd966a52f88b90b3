-- quality_score (spec/descriptors.md), as view `candidate` computes it. Where an import brought scores, the
-- imported samples have those alone, NULL where theirs is missing, as the released selection wants it.

-- One row is one weight of the score. A changed weight changes the scores at once.
CREATE TABLE quality_weight (
    name VARCHAR,              -- what the term is about: a column of `candidate`
    weight DOUBLE              -- 0 leaves the term out
);

INSERT INTO quality_weight VALUES
    ('vds', 0.28),             -- logistic(z(vds) + z(frame_diversity))
    ('self_consistency', 0.18),  -- the value; where it is missing, a guess from the two below
    ('ppl', 0.14),             -- exp(-|z(ppl)|)
    ('amm', 0.12),             -- exp(-|z(amm)|)
    ('tnc', 0.12),             -- the value
    ('cluster_rep', 0.10),     -- the value
    ('cluster_hard', 0.06),    -- the value
    ('guess_vds', 0.6),        -- the guess is logistic(guess_vds z(vds) + guess_ppl |z(ppl)|)
    ('guess_ppl', -0.2);

-- One row is one column that the score reads, as its values lay at the last commit.
CREATE TABLE quality_scale (
    name VARCHAR,
    samples BIGINT,            -- that have a value (of those looked at; of quality_score: an imported one);
                               -- a term whose column has none is left out for all
    median DOUBLE,             -- NULL where the score takes the value as it is
    spread DOUBLE              -- what the robust z divides by
);

-- One row: what the scores of all samples have in common.
CREATE VIEW quality_constant AS
WITH used AS (
    SELECT name, CASE WHEN name = 'self_consistency' OR samples > 0 THEN weight ELSE 0 END AS weight
    FROM quality_weight LEFT JOIN quality_scale USING (name)
), weight AS (
    SELECT
        coalesce(any_value(weight) FILTER (name = 'vds'), 0) AS vds,
        coalesce(any_value(weight) FILTER (name = 'self_consistency'), 0) AS self_consistency,
        coalesce(any_value(weight) FILTER (name = 'ppl'), 0) AS ppl,
        coalesce(any_value(weight) FILTER (name = 'amm'), 0) AS amm,
        coalesce(any_value(weight) FILTER (name = 'tnc'), 0) AS tnc,
        coalesce(any_value(weight) FILTER (name = 'cluster_rep'), 0) AS cluster_rep,
        coalesce(any_value(weight) FILTER (name = 'cluster_hard'), 0) AS cluster_hard
    FROM used
), guess AS (
    SELECT
        any_value(weight) FILTER (name = 'guess_vds') AS vds,
        any_value(weight) FILTER (name = 'guess_ppl') AS ppl
    FROM quality_weight
), scale AS (
    SELECT
        any_value({median: median, spread: spread}) FILTER (name = 'vds') AS vds,
        any_value({median: median, spread: spread}) FILTER (name = 'frame_diversity') AS frame_diversity,
        any_value({median: median, spread: spread}) FILTER (name = 'ppl') AS ppl,
        any_value({median: median, spread: spread}) FILTER (name = 'amm') AS amm
    FROM quality_scale
)
SELECT
    coalesce((SELECT samples > 0 FROM quality_scale WHERE name = 'quality_score'), false) AS scores_imported,
    weight, guess, scale,
    weight.vds + weight.self_consistency + weight.ppl + weight.amm + weight.tnc
        + weight.cluster_rep + weight.cluster_hard AS total
FROM weight, guess, scale;

CREATE MACRO logistic(x) AS 1 / (1 + exp(-x));

CREATE MACRO robust_z(x, scale) AS (x - scale.median) / scale.spread;

CREATE MACRO weighted(weight, x) AS CASE WHEN weight > 0 THEN weight * x ELSE 0 END;

-- The score by the row of `quality_constant`; NULL without vds or ppl, or another value that a term needs.
CREATE MACRO quality_of(
    weight, guess, scale, total,
    vds, frame_diversity, self_consistency, ppl, amm, tnc, cluster_rep, cluster_hard
) AS CASE WHEN vds IS NOT NULL AND ppl IS NOT NULL THEN (
    weighted(weight.vds, logistic(
        robust_z(vds, scale.vds)
        + CASE WHEN scale.frame_diversity.median IS NULL THEN 0
            ELSE robust_z(frame_diversity, scale.frame_diversity) END))
    + weighted(weight.self_consistency, coalesce(self_consistency, logistic(
        guess.vds * robust_z(vds, scale.vds) + guess.ppl * abs(robust_z(ppl, scale.ppl)))))
    + weighted(weight.ppl, exp(-abs(robust_z(ppl, scale.ppl))))
    + weighted(weight.amm, exp(-abs(robust_z(amm, scale.amm))))
    + weighted(weight.tnc, tnc)
    + weighted(weight.cluster_rep, cluster_rep)
    + weighted(weight.cluster_hard, cluster_hard)
) / total END;
