-- Forget media that no sample shows any more.
DELETE FROM media WHERE media_id NOT IN (SELECT unnest(media_ids) FROM sample);
