-- Take anew what quality_score compares a sample's values with: quality_scale, from view `candidate`.
-- Medians and spreads depend on the values alone, not on their order, nor on threads.

-- Of more than 250,000 samples those with the smallest hashes, about so many, stand for all.
CREATE OR REPLACE TEMP TABLE quality_value AS
SELECT vds, frame_diversity, ppl, amm, self_consistency, tnc, cluster_rep, cluster_hard
FROM candidate
WHERE uid_hash::DOUBLE <= (SELECT 18446744073709551616 * least(1, 2.5e5 / count(*)) FROM sample);

CREATE OR REPLACE TEMP MACRO quarters_of(x) AS quantile_cont(x, [0.25, 0.5, 0.75]);

-- Half of the values may be the same, as the motion of stills is: then the others tell the spread, as
-- 1.4826 times the median of their distances from the median, and a spread of 1 where there are no others.
CREATE OR REPLACE TEMP MACRO spread_of(x, quarters) AS CASE
    WHEN any_value(quarters[3] - quarters[1]) > 1e-12 THEN any_value(quarters[3] - quarters[1]) / 1.349
    ELSE coalesce(1.4826 * median(abs(x - quarters[2])) FILTER (
        quarters[3] - quarters[1] <= 1e-12 AND abs(x - quarters[2]) > 1e-12), 1) END;

DELETE FROM quality_scale;

INSERT INTO quality_scale
WITH quarters AS (
    SELECT quarters_of(vds) AS vds, quarters_of(frame_diversity) AS frame_diversity,
        quarters_of(ppl) AS ppl, quarters_of(amm) AS amm
    FROM quality_value
), scale AS (
    SELECT [
        {name: 'vds', samples: count(v.vds), median: any_value(q.vds[2]), spread: spread_of(v.vds, q.vds)},
        {name: 'frame_diversity', samples: count(v.frame_diversity), median: any_value(q.frame_diversity[2]),
            spread: spread_of(v.frame_diversity, q.frame_diversity)},
        {name: 'ppl', samples: count(v.ppl), median: any_value(q.ppl[2]), spread: spread_of(v.ppl, q.ppl)},
        {name: 'amm', samples: count(v.amm), median: any_value(q.amm[2]), spread: spread_of(v.amm, q.amm)},
        {name: 'self_consistency', samples: count(self_consistency), median: NULL, spread: NULL},
        {name: 'tnc', samples: count(tnc), median: NULL, spread: NULL},
        {name: 'cluster_rep', samples: count(cluster_rep), median: NULL, spread: NULL},
        {name: 'cluster_hard', samples: count(cluster_hard), median: NULL, spread: NULL},
        {name: 'quality_score', samples: (SELECT count(quality_score) FROM imported), median: NULL, spread: NULL}
    ] AS rows
    FROM quality_value AS v, quarters AS q
)
SELECT unnest(rows, recursive := true) FROM scale;

DROP TABLE quality_value;
