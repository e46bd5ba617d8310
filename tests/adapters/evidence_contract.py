"""What every evidence probe must keep. A subclass gives the fixtures `probe`, `task` and `blind`.

`probe` finds something for `task`; `blind` is one of the same kind that can ask nobody.
"""

from datetime import timedelta

import pytest

from tests.adapters.service_world import NOW, view


class EvidenceContract:
    remote = True
    """It asks somebody else, so every item says whom."""

    @pytest.fixture
    def task(self):
        raise NotImplementedError

    @pytest.fixture
    def ended(self):
        """The attempt that is looked at."""
        return view()

    @pytest.fixture
    def probe(self):
        raise NotImplementedError

    @pytest.fixture
    def blind(self):
        raise NotImplementedError

    def test_what_it_finds_is_observed_dated_and_of_this_attempt(self, probe, task, ended):
        found = probe.probe(task, ended, NOW)
        assert found
        assert {one.kind for one in found} <= probe.kinds
        assert {(one.origin, one.observed_at, one.attempt) for one in found} == {
            ("observed", NOW, 2)
        }
        assert any(one.holds for one in found)
        assert len({one.id for one in found}) == len(found)

    def test_every_item_is_one_sentence(self, probe, task, ended):
        for one in probe.probe(task, ended, NOW):
            assert one.detail
            assert len(one.detail.splitlines()) == 1
            assert one.detail.isprintable()

    def test_it_says_where_it_was_fetched_and_what_the_raw_answer_hashes_to(
        self, probe, task, ended
    ):
        for one in probe.probe(task, ended, NOW) if self.remote else ():
            assert one.source
            assert one.holds is None or len(one.answer) == 64

    def test_the_same_world_is_seen_the_same_way(self, probe, task, ended):
        later = NOW + timedelta(seconds=1)
        first, second = probe.probe(task, ended, NOW), probe.probe(task, ended, later)
        assert [one.model_copy(update={"observed_at": NOW}) for one in second] == list(first)

    @pytest.mark.parametrize(
        "age", [pytest.param(0, id="at once"), pytest.param(9, id="for hours")]
    )
    def test_what_cannot_be_asked_is_unknown_never_false_and_never_an_error(
        self, blind, task, ended, age
    ):
        found = blind.probe(task, ended, NOW + timedelta(hours=age))
        assert found
        assert {one.holds for one in found} == {None}
        for one in found:
            assert one.detail
            assert len(one.detail.splitlines()) == 1

    def test_a_task_without_a_service_is_asked_nothing_of(self, probe, blind, task):
        for service in (None, "another"):
            other = task.model_copy(update={"service": service})
            if self.remote:
                assert [*probe.probe(other, view(), NOW), *blind.probe(other, view(), NOW)] == []
