"""What several tests of the Code Queue adapter start from."""

import pytest

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
