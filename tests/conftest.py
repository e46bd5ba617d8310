"""What holds for every test."""

import gc


def pytest_configure() -> None:
    """Thousands of tests stay in memory, and most of what one of them makes dies at once.

    So the collector leaves alone what is there, and looks at young objects less often.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish() -> None:
    """What was collected lives as long as the process."""
    gc.freeze()
