"""An installed wheel carries its prompts, its policies and the demonstration's wave."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built from the tree and unpacked where nothing of the tree is near."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    lenient = {**os.environ, "PYTHONWARNINGS": "default"}  # what pip calls is its own business
    subprocess.run([*build, "-w", str(folder), str(ROOT)], check=True, timeout=120, env=lenient)
    (wheel,) = folder.glob("wavekeeper-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_carries_every_policy_and_every_prompt(installed):
    for what in ("policies", "prompts"):
        shipped = {path.name for path in (installed / "agent" / "shipped" / what).iterdir()}
        assert shipped == {path.name for path in (ROOT / what).iterdir() if path.is_file()}


def test_it_carries_the_recording_that_the_demonstration_plays(installed):
    shipped = installed / "agent" / "shipped" / "cassettes"
    assert [path.name for path in shipped.iterdir()] == ["demo.json"]


def test_it_carries_nothing_else_at_the_top(installed):
    names = {path.name.partition("-")[0] for path in installed.iterdir()}
    assert names == {"agent", "wavekeeper"}


def test_it_works_away_from_its_source(installed, tmp_path):
    program = (
        "import agent\n"
        "from pathlib import Path\n"
        "from agent import wiring\n"
        "from agent.cli.demo.scene import HERE\n"
        "from agent.adapters.queue.embedded import SqliteQueue\n"
        "from agent.adapters.common.machine import SystemClock\n"
        "assert Path(agent.__file__).is_relative_to(Path.cwd()), agent.__file__\n"
        "wiring.policy_in(None)\n"
        "assert wiring.shipped('prompts').is_relative_to(Path.cwd())\n"
        "assert (HERE / 'wave.toml').is_file()\n"
        "from agent.cli.demo import model\n"
        "with model() as answering:\n"
        "    assert 'from a recording' in answering.said\n"
        f"SqliteQueue(Path({str(tmp_path / 'queue.db')!r}), SystemClock().now).close()\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", program],
        cwd=installed,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
