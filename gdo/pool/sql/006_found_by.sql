-- Copies of media are found by a close look too, where fingerprints alone do not prove them.
ALTER TABLE media_duplicate ADD COLUMN found_by VARCHAR;  -- fingerprint, close look or embedding
UPDATE media_duplicate SET found_by = 'fingerprint';
