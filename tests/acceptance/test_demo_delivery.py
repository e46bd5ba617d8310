"""`make demo-delivery` is this command in an environment."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from examples.delivery.demo import WAYS, Row, amiss
from examples.delivery.registry import PROGRAM, installed
from tests.acceptance.program import environment
from tests.adapters.git_hostile import Person


def _without_the_registry(folder):
    """A PATH with git and the system's tools, and no docker-registry on it."""
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            if program.name != PROGRAM and not link.is_symlink():
                link.symlink_to(program)
    assert shutil.which(PROGRAM, path=str(folder)) is None
    return str(folder)


@pytest.mark.long
@pytest.mark.parametrize("real", [True, False], ids=["real registry", "without one"])
def test_the_delivery_ends_as_it_says(real, tmp_path):
    if real and installed() is None:
        pytest.skip("docker-registry is not on PATH")
    more = Person(tmp_path / "home", tmp_path / "world").at_home()
    more |= {"TMPDIR": str(tmp_path / "world")}
    (tmp_path / "world").mkdir()
    if not real:
        (tmp_path / "bin").mkdir()
        more |= {"PATH": _without_the_registry(tmp_path / "bin")}
    ended = subprocess.run(
        [sys.executable, "-m", "examples.delivery"],
        cwd=Path(__file__).parents[2],
        env=environment(COLUMNS="200", **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert ended.stdout.startswith("The registry is" if real else "Skipped: the real registry")
    table = ended.stdout[ended.stdout.index("TASK ") :]
    for task, (way, outcome, _) in WAYS.items():
        (line,) = [one for one in table.splitlines() if one.startswith(task)]
        assert way in line
        assert outcome in line
    assert table.splitlines()[-1] == "1 of 4 deliveries proven from the commit to production."


FINE = [Row(task, "till", way, outcome, f"it is {words}")
        for task, (way, outcome, words) in WAYS.items()]  # fmt: skip
ENDINGS = [
    pytest.param(FINE, 0, id="as it should be"),
    pytest.param(FINE[1:], 1, id="one is missing"),
    pytest.param([*FINE, replace(FINE[0], task="T-9")], 1, id="one too many"),
    pytest.param([replace(one, outcome="accepted") for one in FINE], 3, id="all accepted"),
    pytest.param([replace(one, why="who knows") for one in FINE], 4, id="for other reasons"),
]


@pytest.mark.parametrize(("told", "wrong"), ENDINGS)
def test_a_delivery_that_ends_otherwise_is_said(told, wrong):
    assert len(amiss(told)) == wrong
