import errno
import json
import os
from pathlib import Path

import pytest

from agent.adapters.files.config import read_settings
from agent.adapters.remedies.command import CommandRemedies
from agent.core.model.nouns import Remedy
from agent.errors import ConfigurationError, NothingDoneError, UnusableStoreError
from agent.ports import Remedies

# A target is a file; what is done to it, and what is asked, is written beside it.
TOOL = """
place=$1; shift; folder=${place%/*}
echo "$*" >> "$place.log"
case $1 in
dry-run) [ ! -e "$folder/closed" ] || { echo "not reachable" >&2; exit 1; } ;;
act)
  if [ -e "$folder/useless" ]; then echo ill > "$place"; else echo well > "$place"; fi
  [ ! -e "$folder/grumbles" ] || { echo "the job says it failed" >&2; exit 1; } ;;
*) grep -qsx well "$place" || { echo "${place##*/} is ill" >&2; exit 1; } ;;
esac
"""


def act(place, *, timeout="1s", **over):
    lines = {
        name: json.dumps(["sh", str(place.parent / "tool"), str(place), what,
                          "{defect}", "--commit={commit}"] if name != "verify" else
                         ["sh", str(place.parent / "tool"), str(place), what])
        for name, what in (("dry_run", "dry-run"), ("command", "act"), ("verify", "verify"))
    }  # fmt: skip
    lines["timeout"] = f'"{timeout}"'
    return "".join(f"{name} = {value}\n" for name, value in {**lines, **over}.items())


@pytest.fixture
def place(tmp_path):
    (tmp_path / "tool").write_text(TOOL, encoding="utf-8")
    return tmp_path / "dev"


@pytest.fixture
def configured(tmp_path, place):
    path = tmp_path / "wavekeeper.toml"
    path.write_text(
        f'[remedies.mend]\ntarget = "queue-dev"\nenvironment = "dev"\n{REASONS}{act(place)}'
        f'[remedies.ship]\ntarget = "queue"\nenvironment = "production"\n{REASONS}{act(place)}',
        encoding="utf-8",
    )
    return read_settings(path).remedies


@pytest.fixture
def waits():
    return []


@pytest.fixture
def remedies(configured, tmp_path, waits):
    checked: Remedies = CommandRemedies(configured, tmp_path / "remedies", waits.append)
    return checked


REASONS = 'reasons = ["missing-tool"]\n'
NAMES = {"defect": "D-1", "commit": "c0ffee1"}


def log(place):
    written = Path(f"{place}.log")
    return written.read_text().splitlines() if written.exists() else []


def test_they_say_what_they_are_for_and_where(remedies):
    assert list(remedies.known()) == [
        Remedy(id="mend", reasons=("missing-tool",), environment="dev"),
        Remedy(id="ship", reasons=("missing-tool",), environment="production"),
    ]


def test_it_rehearses_acts_once_and_verifies(remedies, place):
    done = remedies.carry_out("mend", NAMES, key="k")
    assert done.verified is True
    assert done.said == "mend at queue-dev (dev) ended with 0; the verification passes"
    assert log(place) == ["dry-run D-1 --commit=c0ffee1", "act D-1 --commit=c0ffee1", "verify"]
    assert remedies.carry_out("mend", NAMES, key="k") == done
    assert len(log(place)) == 3
    assert remedies.done("k") == done
    assert remedies.done("another") is None


def test_another_process_knows_what_was_done(remedies, configured, tmp_path):
    done = remedies.carry_out("ship", NAMES, key="k")
    assert CommandRemedies(configured, tmp_path / "remedies").done("k") == done


def test_a_rehearsal_changes_nothing(remedies, place):
    assert remedies.rehearse("ship", NAMES) == "the dry run of ship passed at queue"
    assert not place.exists()


def test_a_dry_run_that_does_not_pass_ends_it(remedies, place, tmp_path):
    (tmp_path / "closed").touch()
    with pytest.raises(NothingDoneError) as caught:
        remedies.carry_out("mend", NAMES, key="k")
    assert str(caught.value) == ("the dry run of mend ended with 1: not reachable")
    assert log(place) == ["dry-run D-1 --commit=c0ffee1"]
    assert remedies.done("k") is None
    (tmp_path / "closed").unlink()
    assert remedies.carry_out("mend", NAMES, key="k").verified is True


def test_the_verification_tells_and_not_the_job(remedies, tmp_path):
    """Policy: "a deploy job that reports failure even though the service API is healthy"."""
    (tmp_path / "grumbles").touch()
    done = remedies.carry_out("ship", NAMES, key="k")
    assert done.verified is True
    assert done.said == (
        "ship at queue (production) ended with 1: the job says it failed; the verification passes"
    )
    (tmp_path / "grumbles").unlink()
    (tmp_path / "useless").touch()
    done = remedies.carry_out("ship", NAMES, key="l")
    assert done.verified is False
    assert (
        done.said
        == "ship at queue (production) ended with 0; the verification ended with 1: dev is ill"
    )


def test_a_verification_is_asked_again_until_its_time_is_over(place, tmp_path):
    path = tmp_path / "patient.toml"
    path.write_text(
        f'[remedies.ship]\ntarget = "queue"\nenvironment = "dev"\n{REASONS}'
        f"{act(place, timeout='9s')}",
        encoding="utf-8",
    )
    (tmp_path / "useless").touch()

    def heals(_seconds):
        place.write_text("well\n")

    remedies = CommandRemedies(read_settings(path).remedies, tmp_path / "remedies", heals)
    assert remedies.carry_out("ship", NAMES, key="k").verified is True
    assert log(place).count("verify") == 2


def test_what_was_begun_before_a_crash_is_verified_and_not_done_again(
    remedies, configured, place, tmp_path
):
    remedies.carry_out("mend", NAMES, key="k")
    (note,) = (tmp_path / "remedies").glob("*.json")
    half = json.loads(note.read_text()) | {"said": None, "verified": None}
    note.write_text(json.dumps(half))
    again = CommandRemedies(configured, tmp_path / "remedies")
    done = again.carry_out("mend", NAMES, key="k")
    assert done.verified is True
    assert "was begun before and not seen to end; the verification passes" in done.said
    assert [line.split()[0] for line in log(place)] == ["dry-run", "act", "verify", "verify"]


WRONG = [
    pytest.param("prod\n", NAMES, "there are mend, ship", id="no such remedy"),
    pytest.param("ship", {"defect": "D-1"}, "the commit is not known", id="no commit"),
    pytest.param("ship", NAMES | {"commit": "--force"}, "is no value for commit",
                 id="an option for a commit"),
    pytest.param("ship", NAMES | {"commit": "a; rm -rf"}, "is no value for commit",
                 id="a shell's words"),
    pytest.param("ship", NAMES | {"branch": "a"}, "is no value for branch",
                 id="a name that is never filled in"),
]  # fmt: skip


@pytest.mark.parametrize(("remedy", "names", "words"), WRONG)
def test_what_is_not_configured_is_not_done(remedies, place, remedy, names, words):
    with pytest.raises(NothingDoneError) as caught:
        remedies.carry_out(remedy, names, key="k")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert log(place) == []


def test_what_cannot_be_noted_is_not_done(configured, place, tmp_path):
    (tmp_path / "notes").write_text("a file")
    remedies = CommandRemedies(configured, tmp_path / "notes")
    with pytest.raises((UnusableStoreError, NothingDoneError)):
        remedies.carry_out("ship", NAMES, key="k")
    assert not place.exists()


def test_a_note_that_may_be_there_although_it_failed_leaves_the_act_to_be_done(
    remedies, place, monkeypatch
):
    """Else it would say that an act was begun of which not even the command has started."""

    def failing(*places):
        replace(*places)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(UnusableStoreError, match="so nothing is done"):
            remedies.carry_out("mend", NAMES, key="k")
    assert remedies.done("k") is None
    assert not place.exists()
    assert remedies.carry_out("mend", NAMES, key="k").verified is True
    assert place.exists()


WHOLE = """[remedies.q]
target = "queue"
environment = "dev"
reasons = ["missing-tool"]
dry_run = ["a"]
command = ["b"]
verify = ["c"]
"""
FAULTS = [
    pytest.param(WHOLE.replace('"dev"', '"prod"'), 3, "not one of dev, production", id="prod"),
    pytest.param(WHOLE.replace('environment = "dev"\n', ""), 1, "'environment' is missing",
                 id="neither dev nor production"),
    pytest.param(WHOLE.replace('["b"]', '["a"]'), 5, "add the option that",
                 id="the dry run is the act"),
    pytest.param(WHOLE.replace('["c"]', '["b"]'), 7, "must only read",
                 id="the verification is the act"),
    pytest.param(WHOLE.replace('dry_run = ["a"]\n', ""), 1, "'dry_run' is missing",
                 id="no dry run"),
    pytest.param(WHOLE.replace('["b"]', '["b", "{comit}"]'), 6, "did you mean 'commit'",
                 id="a misspelt name"),
    pytest.param(WHOLE.replace('["missing-tool"]', "[]"), 4, "must not be empty", id="no reason"),
    pytest.param(WHOLE + WHOLE.replace(".q", ".r").replace('"dev"', '"production"'), 10,
                 "queue is dev for another remedy", id="a target in two environments"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), FAULTS)
def test_every_fault_of_the_configuration_names_its_line(tmp_path, text, line, words):
    path = tmp_path / "wavekeeper.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)
