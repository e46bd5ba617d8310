import sys

import psutil
import pytest

from agent.adapters.common.machine import SystemMachine

ABOUT = (
    "MemTotal: 9000000 kB\nBuffers: 0 kB\nCached: 0 kB\nShmem: 0 kB\nActive: 0 kB\nInactive: 0 kB\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it in a file")
@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        pytest.param(
            f"{ABOUT}MemFree: 1 kB\nMemAvailable:   2048 kB\n", 2_097_152, id="what would come free"
        ),
        pytest.param(f"{ABOUT}MemFree: 1 kB\nMemAvailable: much\n", None, id="no number"),
        pytest.param("MemAvailable: 2048 kB\n", None, id="half of it"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="no file"),
    ],
)
def test_what_new_work_could_use(tmp_path, monkeypatch, text, bytes_):
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert SystemMachine().free_memory() == bytes_


def test_this_machine_has_some():
    assert (SystemMachine().free_memory() or 0) > 0
