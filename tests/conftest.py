"""What holds for every test."""

import gc
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """Thousands of tests stay in memory, and most of what one of them makes dies at once.

    So the collector leaves alone what is there, and looks at young objects less often.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish() -> None:
    """What was collected lives as long as the process."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _warnings_are_errors_in_processes() -> Iterator[None]:
    """In every Python that a test starts, as they are in the test itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "error")
        yield
