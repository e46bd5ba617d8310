"""A wave is refused before anything is stored when one of its tasks could never be accepted."""

import pytest

from agent.core.model.nouns import TaskKind
from agent.runtime.submit_wave import unprovable
from tests.simulation.small_world import POLICY, spec

TASKS = [
    pytest.param({}, [], id="code change with checks and a push"),
    pytest.param(
        {"acceptance_commands": ()}, ["checks-passed", "acceptance_commands"], id="no checks"
    ),
    pytest.param({"commit": "none"}, ["commit-pushed", "scope-respected", "drop"], id="no push"),
    pytest.param(
        {"kind": TaskKind.DOCUMENTATION, "acceptance_commands": ()}, [], id="documentation"
    ),
    pytest.param(
        {"kind": TaskKind.DOCUMENTATION, "commit": "none"},
        ["commit-pushed"],
        id="unpushed document",
    ),
    pytest.param(
        {"kind": TaskKind.INFRASTRUCTURE, "commit": "none"}, [], id="infrastructure needs no push"
    ),
]


@pytest.mark.parametrize(("changes", "says"), TASKS)
def test_what_could_never_be_accepted_is_refused(changes, says):
    findings = unprovable(spec(**changes), POLICY.completion)
    said = " ".join(one.message for one in findings)
    assert bool(findings) is bool(says)
    assert all(word in said for word in says)
