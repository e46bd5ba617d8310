"""The queue in memory keeps the contract."""

import pytest

from agent.adapters.queue.memory import MemoryQueue
from tests.adapters.queue_contract import QueueContract
from tests.adapters.queue_world import Clock, World


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def world(self) -> World:
        clock = Clock()
        return World(MemoryQueue(clock.now), clock.now, clock.advance)
