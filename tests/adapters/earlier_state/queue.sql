BEGIN TRANSACTION;
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
  heartbeat_at INTEGER,
  started_at INTEGER,
  finished_at INTEGER,
  stop TEXT CHECK (stop IN ('interrupt', 'cancel')),
  stop_reason TEXT,
  traced_at INTEGER,
  last_sequence INTEGER NOT NULL,
  last_message TEXT,
  last_error TEXT,
  final_response TEXT,
  final_response_truncated INTEGER NOT NULL,
  judge TEXT,                         -- JSON of JudgeRecord
  session TEXT,
  report TEXT,                        -- digest of the report that ended it
  PRIMARY KEY (task, number)
) STRICT;
INSERT INTO "attempt" VALUES('t1',1,'main','succeeded',1,'do it','host-1','1fd9ccb0a9d400ff7ab1a631862f39db',1767225660000000,1767225600000000,1767225600000000,1767225600000000,NULL,NULL,1767225600000000,1,'at it',NULL,'done',0,'{"verdict": "pass", "at": "2026-01-01T00:00:00Z", "commit": "c0ffee", "commands": [], "reason": null, "base": null, "baseCommands": [], "shown": null, "changedJudges": [], "restored": [], "host": null}',NULL,'43d69b4507392d02cca67c4d7381048b3ed03d78fd2e45f56a0ad883513357e9');
INSERT INTO "attempt" VALUES('t2',1,'main','judging',2,'do it','host-1','ff42462ad90965f1fae669ade16a56ae',1767225665000000,1767225605000000,1767225605000000,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES('t3',1,'main','queued',3,'do it',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,0,NULL,NULL,NULL);
CREATE TABLE late_report (
  arrival INTEGER PRIMARY KEY,
  task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  digest TEXT NOT NULL,               -- of the whole report: the same one twice is one
  report TEXT NOT NULL,               -- JSON of LateReport
  UNIQUE (task, attempt, digest),
  FOREIGN KEY (task, attempt) REFERENCES attempt (task, number)
) STRICT;
CREATE TABLE queue (
  id TEXT PRIMARY KEY,
  spec TEXT NOT NULL                  -- JSON of QueueSpec
) STRICT;
INSERT INTO "queue" VALUES('main','{"id": "main", "kind": "delivery", "risk": "normal", "maxRunning": 5}');
CREATE TABLE receipt (
  key TEXT PRIMARY KEY,
  digest TEXT NOT NULL,               -- of the request it was first used for
  receipt TEXT NOT NULL               -- JSON of Receipt
) STRICT;
INSERT INTO "receipt" VALUES('t1','4698ce25354b03f69add94f09a85a7d131a14dce073f8d8b2db9d27a5ddade10','{"key": "t1", "effect": "done", "task": "t1", "attempt": 1}');
INSERT INTO "receipt" VALUES('t2','bc56a652cd7e93c877c709e80be97c17d025541ed78ef0fccab2c4bf18fd59b4','{"key": "t2", "effect": "done", "task": "t2", "attempt": 1}');
INSERT INTO "receipt" VALUES('t3','54aaeddddf5524063bacf138585c5b22beaca5f583a0bfd04cb3461a5d4edc40','{"key": "t3", "effect": "done", "task": "t3", "attempt": 1}');
CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  name TEXT NOT NULL,                 -- drawn with the file: tells it from every other
  revision INTEGER NOT NULL           -- one more with every change of a task, in its transaction
) STRICT;
INSERT INTO "store" VALUES(1,'952d71650b71b2c6',9);
CREATE TABLE tally (
  queue TEXT NOT NULL,
  state TEXT NOT NULL,
  tasks INTEGER NOT NULL CHECK (tasks >= 0),
  PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;
INSERT INTO "tally" VALUES('main','judging',1);
INSERT INTO "tally" VALUES('main','queued',1);
INSERT INTO "tally" VALUES('main','running',0);
INSERT INTO "tally" VALUES('main','succeeded',1);
CREATE TABLE task (
  id TEXT PRIMARY KEY,
  attempt INTEGER NOT NULL,           -- the current one
  "order" TEXT NOT NULL,              -- JSON of Order
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  revision INTEGER NOT NULL UNIQUE    -- of its last change
) STRICT;
INSERT INTO "task" VALUES('t1',1,'{"kind": "code-change", "branch": "work/t1", "continues": null, "commit": "required", "acceptanceCommands": [], "labels": {}}',1767225600000000,1767225600000000,7);
INSERT INTO "task" VALUES('t2',1,'{"kind": "code-change", "branch": "work/t2", "continues": null, "commit": "required", "acceptanceCommands": [], "labels": {}}',1767225600000000,1767225605000000,9);
INSERT INTO "task" VALUES('t3',1,'{"kind": "code-change", "branch": "work/t3", "continues": null, "commit": "required", "acceptanceCommands": [], "labels": {}}',1767225600000000,1767225600000000,3);
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
INSERT INTO "trace_event" VALUES('t1',1,1,1767225600000000,'message','at it');
CREATE INDEX waiting ON attempt (queue, place) WHERE state = 'queued';
CREATE INDEX leased ON attempt (lease_until) WHERE state IN ('running', 'judging');
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
COMMIT;
