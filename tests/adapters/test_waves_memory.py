import pytest

from agent.adapters.state.waves_memory import MemoryWaves
from tests.adapters.waves_contract import WavesContract


class TestMemoryWaves(WavesContract):
    @pytest.fixture
    def waves(self):
        return MemoryWaves()
