"""What every wave store must keep. A subclass gives the fixture `waves`, an empty one."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.journal.records import TaskRecord, WaveRecord
from agent.core.model.nouns import Command, Criterion, Defect, Evidence, Grants, Outcome, Review
from agent.core.model.queueing import TaskSpec
from agent.errors import WaveFileError

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def spec(task="a", **changes):
    return TaskSpec(
        **{
            "id": task,
            "queue": "delivery",
            "kind": "code-change",
            "title": f"Change {task}",
            "ownership": f"service {task}",
            "background": "It is slow. „Hürden“ and all.",
            "write_scope": ("src/**",),
            "validation_scope": "unit tests, here",
            "branch": f"wave/{task}",
            "forbidden": ("force-push",),
            "criteria": (Criterion(id="c1", text="pushed", proof="commit-pushed"),),
            "acceptance_commands": (Command(argv=("true",)),),
        }
        | changes,
    )


def task_record(task="a", *, wave="w1", **changes):
    return TaskRecord(
        **{"spec": spec(task), "wave": wave, "prompt": f"Do {task}.", "changed_at": NOW} | changes,
    )


def wave(name="w1", **changes):
    return WaveRecord(
        **{"id": name, "goal": "Ship it", "submitted_at": NOW, "source": "wave.toml"} | changes,
    )


def outcome(task, *, minute=0, result="accepted"):
    return Outcome(task=task, result=result, attributable=True, at=NOW + timedelta(minutes=minute))


class WavesContract:
    def test_an_empty_store_is_empty(self, waves):
        assert list(waves.waves()) == []
        assert list(waves.task_records()) == []
        assert waves.task_record("a") is None
        assert list(waves.defects()) == []
        assert list(waves.outcomes(10)) == []
        assert dict(waves.notes()) == {}

    def test_a_wave_comes_back_as_it_was(self, waves):
        granted = wave(grants=Grants(production_repair=True, manual_takeover=("a",)))
        tasks = [task_record("b"), task_record("a", status="parked", blocked_by="d1")]
        assert waves.add_wave(granted, tasks) is True
        assert list(waves.waves()) == [granted]
        assert list(waves.task_records()) == tasks
        assert waves.task_record("a") == tasks[1]

    @pytest.mark.parametrize(
        "again",
        [
            pytest.param((wave(), [task_record("a"), task_record("b")]), id="the very same"),
            pytest.param((wave(), [task_record("b"), task_record("a")]), id="another order"),
            pytest.param(
                (
                    wave(submitted_at=NOW + timedelta(days=1), source="./wave.toml"),
                    [task_record(task, changed_at=NOW + timedelta(days=1)) for task in "ab"],
                ),
                id="a day later by another path",
            ),
        ],
    )
    def test_the_same_wave_again_changes_nothing(self, waves, again):
        first = wave()
        waves.add_wave(first, [task_record("a"), task_record("b")])
        moved_on = task_record("a", status="accepted", why="proven")
        waves.save(moved_on)
        assert waves.add_wave(*again) is False
        assert list(waves.waves()) == [first]
        assert list(waves.task_records()) == [moved_on, task_record("b")]

    @pytest.mark.parametrize(
        ("other", "tasks", "line"),
        [
            pytest.param(
                wave(goal="Ship more"),
                [task_record("a")],
                "wave 'w1' was submitted before with other content: "
                "give the changed wave an id of its own",
                id="another goal",
            ),
            pytest.param(
                wave(grants=Grants(production_repair=True)),
                [task_record("a")],
                "wave 'w1' was submitted before with other content: "
                "give the changed wave an id of its own",
                id="more is granted",
            ),
            pytest.param(
                wave(),
                [task_record("a", spec=spec("a", write_scope=("**",)))],
                "wave 'w1' was submitted before with other content: "
                "give the changed wave an id of its own",
                id="a task has changed",
            ),
            pytest.param(
                wave(),
                [task_record("a"), task_record("b")],
                "wave 'w1' was submitted before with other content: "
                "give the changed wave an id of its own",
                id="a task more",
            ),
            pytest.param(
                wave("w2"),
                [task_record("b", wave="w2"), task_record("a", wave="w2")],
                "task 'a' is there already, in wave 'w1': give it another id",
                id="a task of another wave",
            ),
            pytest.param(
                wave("w2"),
                [task_record("b", wave="w2"), task_record("b", wave="w2")],
                "task 'b' is there already, in wave 'w2': give it another id",
                id="a task twice",
            ),
        ],
    )
    def test_a_wave_that_does_not_fit_adds_nothing(self, waves, other, tasks, line):
        waves.add_wave(wave(), [task_record("a")])
        with pytest.raises(WaveFileError) as caught:
            waves.add_wave(other, tasks)
        assert str(caught.value) == line
        assert list(waves.waves()) == [wave()]
        assert list(waves.task_records()) == [task_record("a")]

    def test_the_message_stays_one_line(self, waves):
        waves.add_wave(wave("w\n\x1b[2J"), [task_record("a")])
        with pytest.raises(WaveFileError) as caught:
            waves.add_wave(wave("w\n\x1b[2J", goal="other"), [])
        assert str(caught.value).isprintable()

    def test_a_saved_standing_replaces_the_last_one_in_its_place(self, waves):
        waves.add_wave(wave(), [task_record("a"), task_record("b")])
        rich = task_record(
            "a",
            status="submitted",
            inspected_attempt=2,
            inspected_late=(1,),
            charged=(1,),
            at_risk_counted_at=NOW,
            evidence=(
                Evidence(
                    id="commit-pushed@2",
                    kind="commit-pushed",
                    origin="observed",
                    holds=False,
                    observed_at=NOW,
                ),
            ),
            review=Review(abstained="no model"),
            last_interrupt_at=NOW + timedelta(hours=1),
        )
        for _ in range(2):
            waves.save(rich)
            assert list(waves.task_records()) == [rich, task_record("b")]
            assert waves.task_record("a") == rich

    def test_a_task_that_was_split_off_comes_last(self, waves):
        waves.add_wave(wave(), [task_record("a"), task_record("b")])
        waves.save(task_record("0-defect", status="submitted"))
        assert [one.spec.id for one in waves.task_records()] == ["a", "b", "0-defect"]

    @pytest.mark.parametrize(
        ("status", "settled"),
        [
            pytest.param("planned", False, id="planned"),
            pytest.param("submitted", False, id="submitted"),
            pytest.param("parked", False, id="parked"),
            pytest.param("accepted", True, id="accepted"),
            pytest.param("replaced", True, id="replaced"),
            pytest.param("cancelled", True, id="cancelled"),
            pytest.param("handed-over", True, id="handed over"),
        ],
    )
    def test_what_is_settled(self, waves, status, settled):
        waves.add_wave(wave(), [task_record("a")])
        now = task_record("a", status=status)
        waves.save(now)
        assert list(waves.task_records(settled=settled)) == [now]
        assert list(waves.task_records(settled=not settled)) == []

    def test_a_settled_task_can_be_opened_again(self, waves):
        waves.add_wave(wave(), [task_record(task) for task in "abc"])
        for status in ("accepted", "submitted"):
            waves.save(task_record("b", status=status))
        assert [one.spec.id for one in waves.task_records(settled=False)] == ["a", "b", "c"]

    def test_what_is_open_is_always_up_to_date(self, waves):
        def still_open():
            return [(one.spec.id, one.status) for one in waves.task_records(settled=False)]

        waves.add_wave(wave(), [task_record("a"), task_record("b")])
        assert still_open() == [("a", "planned"), ("b", "planned")]
        waves.add_wave(wave("w2"), [task_record("c", wave="w2")])
        assert still_open() == [("a", "planned"), ("b", "planned"), ("c", "planned")]
        waves.save(task_record("d", status="parked"))
        assert still_open()[3:] == [("d", "parked")]
        waves.save(task_record("b", status="accepted"))
        waves.save(task_record("c", wave="w2", status="cancelled"))
        assert still_open() == [("a", "planned"), ("d", "parked")]
        waves.save(task_record("b", status="submitted"))
        assert still_open() == [("a", "planned"), ("b", "submitted"), ("d", "parked")]

    def test_defects_are_overwritten_by_id(self, waves):
        first = Defect(id="d1", fingerprint="no tool", status="observed")
        second = Defect(id="d2", fingerprint="disk full", status="observed")
        fixed = Defect(id="d1", fingerprint="no tool", status="fixed", issue="0001", fixed_by="f")
        for defect in (first, second, fixed, fixed):
            waves.save_defect(defect)
        assert list(waves.defects()) == [fixed, second]

    @pytest.mark.parametrize(
        ("limit", "tasks"),
        [
            pytest.param(10, "cab", id="more than there are"),
            pytest.param(3, "cab", id="all"),
            pytest.param(2, "ab", id="the last two"),
            pytest.param(0, "", id="none"),
            pytest.param(-1, "", id="less than none"),
        ],
    )
    def test_the_last_outcomes_oldest_first(self, waves, limit, tasks):
        for minute, task in enumerate("cab"):
            waves.add_outcome(outcome(task, minute=minute), key=f"k-{task}")
        assert [one.task for one in waves.outcomes(limit)] == list(tasks)

    def test_the_first_outcome_with_a_key_stays(self, waves):
        waves.add_outcome(outcome("a"), key="1")
        waves.add_outcome(outcome("b"), key="2")
        waves.add_outcome(outcome("a", minute=5, result="failed"), key="1")
        assert list(waves.outcomes(10)) == [outcome("a"), outcome("b")]

    def test_notes_are_overwritten_by_name(self, waves):
        waves.note({"cursor": "17", "limit": "5"})
        waves.note({"cursor": "18", "odd": "a\nb\u0000"})
        waves.note({})
        assert dict(waves.notes()) == {"cursor": "18", "limit": "5", "odd": "a\nb\u0000"}

    def test_notes_are_the_callers_own(self, waves):
        waves.note({"cursor": "17"})
        mine = dict(waves.notes())
        mine["cursor"] = "18"
        assert dict(waves.notes()) == {"cursor": "17"}

    def test_threads_may_save_at_once(self, waves):
        def save(number):
            for round_ in range(10):
                waves.save(task_record(f"t{number}", at_risk_polls=round_))
                waves.add_outcome(outcome(f"t{number}"), key=f"{number}-{round_}")

        threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(one.spec.id for one in waves.task_records()) == ["t0", "t1", "t2", "t3"]
        assert {one.at_risk_polls for one in waves.task_records()} == {9}
        assert len(waves.outcomes(100)) == 40
