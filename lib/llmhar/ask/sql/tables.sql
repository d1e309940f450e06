CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY,           -- sha256 of everything that can change the answer
    request TEXT NOT NULL           -- numbers of its parts, JSON; in older stores the whole request
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY,
    request_key TEXT NOT NULL REFERENCES requests(key),
    fingerprint TEXT NOT NULL,      -- canonical JSON: engine, version, dtype, device
    text TEXT NOT NULL,             -- raw, thinking marks included
    finish_reason TEXT NOT NULL,    -- stop, length or error; behind a colon the server's own word, where it is another
    error TEXT NOT NULL,            -- empty on success
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    pass_id INTEGER REFERENCES passes(id),
    created_utc REAL NOT NULL,      -- UNIX seconds; for people, no result depends on it
    timed INTEGER NOT NULL DEFAULT 0  -- 1: asked alone, for its time; never mixed with answers of a batch
);
CREATE UNIQUE INDEX IF NOT EXISTS one_success ON attempts (request_key, fingerprint, timed) WHERE error = '';
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (request_key);
CREATE TABLE IF NOT EXISTS asks (
    dataset TEXT NOT NULL, session_id TEXT NOT NULL, window_index INTEGER NOT NULL, model TEXT NOT NULL,
    request_key TEXT NOT NULL REFERENCES requests(key),
    purpose TEXT NOT NULL DEFAULT 'study',  -- what the answer is for: study, timed, probe, reask
    PRIMARY KEY (request_key, dataset, session_id, window_index, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passes (
    id INTEGER PRIMARY KEY,
    cost TEXT NOT NULL              -- JSON: what one pass of an engine over some requests cost, once it has ended
);
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL,             -- JSON: notebook, profile, params, commit, packages, device
    created_utc REAL NOT NULL
);
