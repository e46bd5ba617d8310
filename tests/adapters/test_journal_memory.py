import pytest

from agent.adapters.state.journal_memory import MemoryJournal
from tests.adapters.journal_contract import JournalContract, record


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def journal(self):
        return MemoryJournal()

    def test_verify_names_an_edited_record(self, journal):
        journal.append([record("start"), record("tick"), record("stop")])
        list(journal.entries())[1].record.body["sentence"] = "all is well"
        assert journal.verify() == "record 2 was edited after it was written"
