-- As notes: younger than format 3 and made with its first row. What many requests share stands here once; an older llmhar
-- that shares this store goes on asking and finding answers, and only cannot show the requests that are kept so.
CREATE TABLE IF NOT EXISTS parts (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,    -- of the text
    json TEXT NOT NULL              -- a message's text, a schema, or the rest of a request, as canonical JSON
)
