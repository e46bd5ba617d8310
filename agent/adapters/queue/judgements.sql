-- What judge hosts are asked to check, version 1. Times are microseconds since 1970 (UTC).

CREATE TABLE judgement (
  place INTEGER PRIMARY KEY,          -- in the order in which they were ordered
  key TEXT NOT NULL UNIQUE,
  digest TEXT NOT NULL,               -- of the order it was first used for
  task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  heavy INTEGER NOT NULL CHECK (heavy IN (0, 1)),
  "order" TEXT NOT NULL,              -- JSON of JudgementOrder
  ordered_at INTEGER NOT NULL,
  host TEXT,
  token TEXT,
  lease_until INTEGER,
  started_at INTEGER,
  record TEXT                         -- JSON of JudgeRecord; NULL: it is not finished
) STRICT;
CREATE INDEX of_attempt ON judgement (task, attempt, place);
CREATE INDEX unfinished ON judgement (place) WHERE record IS NULL;

-- The judge hosts that asked for work, and when they did so last.
CREATE TABLE host (
  name TEXT PRIMARY KEY,
  heavy INTEGER NOT NULL CHECK (heavy IN (0, 1)),
  seen_at INTEGER NOT NULL
) STRICT;
