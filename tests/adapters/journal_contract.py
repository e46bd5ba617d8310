"""What every journal must keep. A subclass gives the fixture `journal`, an empty one."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.journal.records import GENESIS, Record, chain
from agent.core.model.actions import digest
from agent.core.model.nouns import Queue, Snapshot, Task, Trace

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def record(kind, *, tick=1, task=None, key=None, **body):
    return Record(
        kind=kind, at=NOW + timedelta(minutes=tick), tick=tick, task=task, key=key, body=body
    )


def snapshot(*, tasks=2, text="x" * 40):
    return Snapshot(
        now=NOW,
        mode="auto",
        queues=(Queue(id="delivery", counts={"running": tasks}),),
        tasks=tuple(
            Task(
                id=f"task-{number}",
                attempt=1,
                trace=Trace(last_event_at=NOW - timedelta(seconds=number), last_sequence=number),
                last_error=text,
            )
            for number in range(tasks)
        ),
    )


class JournalContract:
    def test_an_empty_journal_holds_and_says_nothing(self, journal):
        assert list(journal.entries()) == []
        assert list(journal.unresolved()) == []
        assert journal.last_tick() == 0
        assert journal.verify() is None

    def test_records_come_back_in_one_chain(self, journal):
        first = [record("start"), record("decision", task="a", proposal={"why": "späť", "n": None})]
        second = [record("tick", tick=2, sentence="nothing to do", rate=0.25, list=[1, [2]])]
        journal.append(first)
        journal.append(second)

        entries = list(journal.entries())

        assert [entry.record for entry in entries] == first + second
        previous = GENESIS
        for place, entry in enumerate(entries, start=1):
            assert entry == chain(place, previous, entry.record)
            previous = entry.digest
        assert journal.verify() is None

    def test_what_the_caller_changes_later_is_not_the_journals(self, journal):
        given = record("decision", list=[1])
        journal.append([given])
        given.body["list"].append(2)
        assert [entry.record.body for entry in journal.entries()] == [{"list": [1]}]
        assert journal.verify() is None

    @pytest.mark.parametrize(
        ("wanted", "sequences"),
        [
            pytest.param({}, [1, 2, 3, 4, 5, 6], id="all"),
            pytest.param({"after": 4}, [5, 6], id="after"),
            pytest.param({"after": 6}, [], id="after the end"),
            pytest.param({"task": "a"}, [2, 4], id="one task"),
            pytest.param({"kinds": ["intent", "outcome"]}, [3, 4, 6], id="kinds"),
            pytest.param({"after": 2, "task": "b", "kinds": ["outcome"]}, [6], id="all together"),
            pytest.param({"task": "nobody"}, [], id="unknown task"),
            pytest.param({"task": "' OR 1=1 --"}, [], id="a task that is no SQL"),
        ],
    )
    def test_entries_can_be_picked(self, journal, wanted, sequences):
        journal.append(
            [
                record("start"),
                record("decision", task="a"),
                record("intent", task="b", key="1"),
                record("outcome", task="a", key="2"),
                record("decision", task="b"),
                record("outcome", task="b", key="1"),
            ],
        )
        assert [entry.sequence for entry in journal.entries(**wanted)] == sequences

    def test_many_entries_come_back_in_order(self, journal):
        for tick in range(11):
            journal.append([record("decision", tick=tick, n=n) for n in range(100)])
        assert [entry.sequence for entry in journal.entries()] == list(range(1, 1101))
        assert journal.verify() is None

    @pytest.mark.parametrize(
        ("story", "left"),
        [
            pytest.param("intent:1", "1", id="no outcome"),
            pytest.param("intent:1 outcome:1", "", id="outcome"),
            pytest.param("intent:1 settled:1", "", id="settled after a crash"),
            pytest.param("intent:2 intent:1 intent:3 outcome:1", "2 3", id="oldest first"),
            pytest.param("intent:1 outcome:2", "1", id="the outcome of another"),
            pytest.param("intent:1 intent:1", "1", id="the same key twice is one effect"),
            pytest.param("intent:1 intent:2 intent:1", "1 2", id="the first of the same key"),
            pytest.param("outcome:1 intent:1", "1", id="an outcome before it settles nothing"),
            pytest.param("intent:1 settled:1 intent:1", "1", id="tried again after being settled"),
            pytest.param("intent:1 decision:1 tick:1", "1", id="other kinds settle nothing"),
        ],
    )
    @pytest.mark.parametrize("together", [True, False], ids=["one append", "many appends"])
    def test_unresolved_intents(self, journal, story, left, together):
        records = [
            record(kind, tick=tick, key=key)
            for tick, (kind, key) in enumerate(word.split(":") for word in story.split())
        ]
        for batch in [records] if together else [[one] for one in records]:
            journal.append(batch)
        assert [one.key for one in journal.unresolved()] == left.split()
        assert all(one in records for one in journal.unresolved())

    def test_an_intent_without_a_key_is_refused(self, journal):
        with pytest.raises(ValueError, match="needs a key"):
            journal.append([record("start"), record("intent", task="a")])
        assert list(journal.entries()) == []

    def test_the_last_tick_is_the_highest(self, journal):
        journal.append([record("tick", tick=7), record("stop", tick=3)])
        assert journal.last_tick() == 7

    def test_a_snapshot_is_found_by_its_digest(self, journal):
        seen = snapshot()
        journal.append([record("tick", snapshot=digest(seen))], seen)
        journal.append([record("tick", tick=2, snapshot=digest(seen))], seen)
        assert journal.snapshot(digest(seen)) == seen
        assert journal.snapshot("0" * 64) is None
        assert journal.verify() is None

    def test_a_snapshot_may_come_alone(self, journal):
        journal.append([], snapshot())
        assert journal.snapshot(digest(snapshot())) == snapshot()
        assert list(journal.entries()) == []

    def test_threads_share_one_chain(self, journal):
        def write(number):
            for tick in range(20):
                journal.append([record("decision", tick=tick, task=f"t{number}")] * 2)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(journal.entries())) == 160
        assert journal.verify() is None
