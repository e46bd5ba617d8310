-- The embedded queue's file, version 3. Times are microseconds since 1970 (UTC).

CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  name TEXT NOT NULL,                 -- drawn with the file: tells it from every other
  revision INTEGER NOT NULL           -- one more with every change of a task, in its transaction
) STRICT;
INSERT INTO store VALUES (1, lower(hex(randomblob(8))), 0);

CREATE TABLE queue (
  id TEXT PRIMARY KEY,
  spec TEXT NOT NULL                  -- JSON of QueueSpec
) STRICT;

CREATE TABLE task (
  id TEXT PRIMARY KEY,
  attempt INTEGER NOT NULL,           -- the current one
  "order" TEXT NOT NULL,              -- JSON of Order
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  revision INTEGER NOT NULL UNIQUE    -- of its last change
) STRICT;

CREATE TABLE attempt (
  task TEXT NOT NULL REFERENCES task (id),
  number INTEGER NOT NULL CHECK (number >= 1),
  queue TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN
    ('queued', 'running', 'judging', 'succeeded', 'failed', 'cancelled', 'lost')),
  place INTEGER NOT NULL,             -- the revision at which it was queued: oldest first
  prompt TEXT NOT NULL,
  worker TEXT,
  token TEXT,
  lease_until INTEGER,
  lost_at INTEGER,                    -- set when the lease was seen to have run out
  heartbeat_at INTEGER,
  started_at INTEGER,
  finished_at INTEGER,
  stop TEXT CHECK (stop IN ('interrupt', 'cancel')),
  stop_reason TEXT,
  traced_at INTEGER,
  last_sequence INTEGER NOT NULL,
  last_message TEXT,
  last_error TEXT,
  failure TEXT,                       -- JSON of AttemptFailure
  used TEXT,                          -- JSON of AgentUsage
  final_response TEXT,
  final_response_truncated INTEGER NOT NULL,
  session TEXT,
  tree_gone INTEGER,
  pushed TEXT,                        -- JSON of Pushed
  report TEXT,                        -- digest of the report that ended it
  PRIMARY KEY (task, number)
) STRICT;
CREATE INDEX waiting ON attempt (queue, place) WHERE state = 'queued';
CREATE INDEX leased ON attempt (lease_until) WHERE state IN ('running', 'judging');

-- The number of tasks by queue and state, so that counting never reads them all.
CREATE TABLE tally (
  queue TEXT NOT NULL,
  state TEXT NOT NULL,
  tasks INTEGER NOT NULL CHECK (tasks >= 0),
  PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tally_new AFTER INSERT ON attempt BEGIN
  UPDATE tally SET tasks = tasks - 1
    FROM attempt AS before
    WHERE before.task = NEW.task AND before.number = NEW.number - 1
      AND tally.queue = before.queue AND tally.state = before.state;
  INSERT INTO tally VALUES (NEW.queue, NEW.state, 1)
    ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;

CREATE TRIGGER tally_change AFTER UPDATE OF queue, state ON attempt
WHEN OLD.queue <> NEW.queue OR OLD.state <> NEW.state BEGIN
  UPDATE tally SET tasks = tasks - 1 WHERE queue = OLD.queue AND state = OLD.state;
  INSERT INTO tally VALUES (NEW.queue, NEW.state, 1)
    ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;

CREATE TABLE trace_event (
  task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (task, attempt, sequence),
  FOREIGN KEY (task, attempt) REFERENCES attempt (task, number)
) STRICT;

CREATE TABLE late_report (
  arrival INTEGER PRIMARY KEY,
  task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  digest TEXT NOT NULL,               -- of the whole report: the same one twice is one
  report TEXT NOT NULL,               -- JSON of LateReport
  UNIQUE (task, attempt, digest),
  FOREIGN KEY (task, attempt) REFERENCES attempt (task, number)
) STRICT;

CREATE TABLE receipt (
  key TEXT PRIMARY KEY,
  digest TEXT NOT NULL,               -- of the request it was first used for
  receipt TEXT NOT NULL               -- JSON of Receipt
) STRICT;
