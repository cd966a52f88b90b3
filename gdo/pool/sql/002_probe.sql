-- Models that are asked about samples, and which of a descriptor's values `candidate` shows.

-- One row is one model that made values, as it was when the first of them were committed.
CREATE TABLE probe (
    label VARCHAR,             -- what the column `probe` of a descriptor's table says
    model VARCHAR,             -- name at a hub, a folder's name, or self
    source VARCHAR,            -- where it was loaded from
    fingerprint VARCHAR,       -- digest of its configuration and weights
    dtype VARCHAR,
    settings VARCHAR,          -- JSON: what the values depend on beside the weights
    details VARCHAR,           -- JSON: versions, attention, and what else is worth knowing
    made TIMESTAMP
);

-- One row is one descriptor at one version by one probe. While its first run is not done it does not take
-- the place of another one that is complete.
CREATE TABLE description (
    name VARCHAR,
    version INTEGER,
    probe VARCHAR,
    begun TIMESTAMP,
    complete TIMESTAMP         -- when every subject had a row for the first time; NULL before
);

-- What an older gdo computed is taken for complete.
INSERT INTO description
SELECT name, version, probe, ended, ended FROM descriptor, (SELECT max(ended) AS ended FROM run);
