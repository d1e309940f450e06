-- As notes: younger than format 3 and made with its first row, so stores without it stay as they are, and an older llmhar
-- that shares this one goes on writing.
CREATE TABLE IF NOT EXISTS logprobs (
    attempt_id INTEGER PRIMARY KEY REFERENCES attempts(id),
    tokens TEXT NOT NULL            -- JSON: [first character, behind the last one, ln p] of each token that was not certain
)
