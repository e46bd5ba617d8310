import sys

import pytest

from agent.adapters.common.machine import MEMINFO, ProcMachine


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        pytest.param("MemFree: 1 kB\nMemAvailable:   2048 kB\n", 2_097_152, id="linux"),
        pytest.param("MemTotal: 9 kB\nMemFree: 1 kB\n", None, id="a kernel that does not tell"),
        pytest.param("MemAvailable: much\n", None, id="no number"),
        pytest.param("", None, id="empty"),
        pytest.param("MemAvailable: \u0663 kB\n", None, id="no digit of ours"),
        pytest.param(None, None, id="no file"),
    ],
)
def test_what_new_work_could_use(tmp_path, text, bytes_):
    path = tmp_path / "meminfo"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert ProcMachine(path).free_memory() == bytes_


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_this_machine_has_some():
    assert MEMINFO.exists()
    assert (ProcMachine().free_memory() or 0) > 0
