-- As logprobs: younger than format 3 and made with its first row. An answer without a row here was stored before there
-- were checksums, or by an older llmhar that shares this store, and counts as it is.
CREATE TABLE IF NOT EXISTS sums (
    attempt_id INTEGER PRIMARY KEY REFERENCES attempts(id),
    crc INTEGER NOT NULL            -- CRC-32 of all that the answer says (llmhar.ask.stored.checksum)
)
