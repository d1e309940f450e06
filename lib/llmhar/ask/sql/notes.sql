-- Younger than format 2 and made with the first note, so stores without it (read-only ones too) stay as they are.
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY,
    request_key TEXT NOT NULL REFERENCES requests(key),
    tags TEXT NOT NULL,             -- JSON list of texts
    text TEXT NOT NULL,
    created_utc REAL NOT NULL
)
