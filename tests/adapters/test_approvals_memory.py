import pytest

from agent.adapters.state.approvals_memory import MemoryApprovals
from tests.adapters.approvals_contract import ApprovalsContract


class TestMemoryApprovals(ApprovalsContract):
    @pytest.fixture
    def approvals(self):
        return MemoryApprovals()
