-- Format 2 kept the purpose of an ask in the numbers of windows (changed ones) and in the seed (timed ones).
ALTER TABLE asks ADD COLUMN purpose TEXT NOT NULL DEFAULT 'study';
ALTER TABLE attempts ADD COLUMN timed INTEGER NOT NULL DEFAULT 0;
DROP INDEX one_success;
CREATE UNIQUE INDEX one_success ON attempts (request_key, fingerprint, timed) WHERE error = '';
UPDATE OR IGNORE asks SET purpose = 'reask', window_index = window_index - 562949953421312 WHERE window_index >= 562949953421312;
UPDATE OR IGNORE asks SET purpose = 'probe', window_index = window_index - 1000000000 WHERE window_index >= 1000000000
    AND purpose = 'study';
UPDATE asks SET purpose = 'timed' WHERE purpose = 'study' AND request_key IN
    (SELECT key FROM requests WHERE json_extract(request, '$.sampling.seed') >= 1000000);
UPDATE attempts SET timed = 1 WHERE request_key IN (SELECT request_key FROM asks WHERE purpose = 'timed')
