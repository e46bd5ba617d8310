"""Record the cassettes: `python -m tests.model.record standin|live [NAME...]`.

`standin` asks a loopback stand-in, needs no network and gives the same bytes again. `live` asks the
real API with ANTHROPIC_API_KEY; what only a stand-in can be made to do is left as it is.
"""

import json
import os
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anthropic

from agent.cli.console import standard
from agent.cli.demo import Answering
from agent.cli.demo import play as play_demo
from agent.cli.evaluate import case_of, decided
from agent.core.review.brief import Limits
from tests.model.cassettes import API, FOLDER, LABEL, SECRET, recorder
from tests.model.scenarios import (
    ASKING,
    CASES,
    FOLLOW_UP,
    SCENARIOS,
    play,
    reads_the_cases,
    reads_the_demo,
    reviewer,
    told,
    words_the_draft,
    writer,
)
from tests.model.standin import StandIn

SCRIPTED_ONLY = {"refusal", "truncated", "overloaded_once", "invented_quote"}
"""A real model cannot be asked to do this on purpose."""


def provenance(source: str) -> dict[str, str]:
    label = {"source": source, "label": LABEL[source], "model": ASKING.model}
    if source == "live":
        label["recorded"] = datetime.now(UTC).date().isoformat()
        label["sdk"] = anthropic.__version__
    return label


def record(name: str, source: str, folder: Path, key: str) -> str:
    """Record one scenario into `folder`; what came of it."""
    place: AbstractContextManager[Any] = nullcontext()
    if source == "standin":
        place = StandIn(SCENARIOS[name].brain)
    tape = recorder(folder, "all", provenance(source))
    with place as standin, tape.use_cassette(name):
        (review,) = play(name)(standin.url if standin else API, key)
    return told(review)


def record_demo(url: str, key: str) -> str:
    """Play the demonstration; what went wrong."""
    with tempfile.TemporaryDirectory() as scene:
        answering = Answering(url, key, "This is being recorded.")
        ending = play_demo(standard(), Path(scene), answering)
    return "; ".join(ending.faults) or "as it should be"


def record_cases(url: str, key: str) -> str:
    """Review the cases that the tests of `wavekeeper eval` use."""
    cases = [case_of(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    reviews = reviewer(url, key).review([case.brief(Limits()) for case in cases])
    return " ".join(decided(review) for review in reviews)


def record_draft(url: str, key: str) -> str:
    """Fill the slots of one continuation."""
    slots, _ = writer(url, key).slots(FOLLOW_UP)
    return f"{len(slots.remaining)} steps" if slots else "none"


WHOLE = {
    "demo": (record_demo, reads_the_demo),
    "eval": (record_cases, reads_the_cases),
    "draft": (record_draft, words_the_draft),
}
"""What is recorded by doing it, with the brain that answers."""


def record_whole(name: str, source: str, folder: Path, key: str) -> str:
    do, brain = WHOLE[name]
    place: AbstractContextManager[Any] = nullcontext()
    if source == "standin":
        place = StandIn(brain)
    tape = recorder(folder, "all", provenance(source))
    with place as standin, tape.use_cassette(name):
        said = do(standin.url if standin else API, key)
    made = folder / f"{name}.json"
    told = json.loads(made.read_text(encoding="utf-8"))
    # Which one is asked first is up to the machine.
    told["interactions"].sort(key=lambda one: str(one["request"]["body"]))
    made.write_text(json.dumps(told, indent=4) + "\n", encoding="utf-8")
    return said


def main(source: str, names: list[str]) -> int:
    key = "not-a-key" if source == "standin" else os.environ.get("ANTHROPIC_API_KEY", "")
    if not key:
        sys.exit("set ANTHROPIC_API_KEY to record from the real API")
    possible = [one for one in SCENARIOS if source == "standin" or one not in SCRIPTED_ONLY]
    wanted = names or [*possible, *WHOLE]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        for name in wanted:
            if name in WHOLE:
                said = record_whole(name, source, Path(scratch), key)
            else:
                said = record(name, source, Path(scratch), key)
                said += f" (expected {SCENARIOS[name].expected})"
            sys.stdout.write(f"{name}: {said}\n")
        for made in Path(scratch).glob("*.json"):
            if SECRET.search(made.read_text(encoding="utf-8")):
                sys.exit(f"{made.name} looks as if it holds a credential; nothing was kept")
            made.replace((FOLDER.parent if made.stem in WHOLE else FOLDER) / made.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
