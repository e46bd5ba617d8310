"""What the tests of several adapters start from."""

import pytest

from agent.adapters.common.sqlite import MEMORY
from agent.adapters.state.db import State
from tests.adapters.code_queue_world import bench
from tests.standins.code_queue import serving


@pytest.fixture(scope="module")
def standin_server():
    with serving() as here:
        yield here


@pytest.fixture
def code_queue(tmp_path, standin_server):
    """Opens a bench, with what it is given; closed at the end."""
    opened = []

    def open_bench(**how):
        opened.append(bench(tmp_path, standin_server, **how))
        return opened[-1].__enter__()

    yield open_bench
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture(params=["disk", "memory"])
def state(request, tmp_path):
    """An empty state of the supervisor, in a file and in memory."""
    path = tmp_path / "state" / "state.db" if request.param == "disk" else MEMORY
    with State(path) as state:
        yield state
