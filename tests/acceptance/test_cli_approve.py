"""A person at a terminal: what each key does, what decides nothing, and what a yes is bound to."""

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pexpect
import pytest

from agent import wiring
from agent.adapters.files.policy import read_policy
from agent.adapters.state.db import State
from agent.cli.policy import draft_rule, parse_rule
from agent.core.model.actions import Action
from agent.errors import PolicyError, UserError
from tests.acceptance.program import GOOD, SCRIPTED, SETTINGS, Project, here
from tests.acceptance.terminals import QUESTION, desk, program
from tests.adapters.approvals_contract import request
from tests.simulation.small_world import POLICY

TASK = GOOD[GOOD.index("[[task]]") :]
SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Three tasks, and the questions whether to submit them."""
    project = Project.whole(tmp_path_factory.mktemp("approve"))
    project.write("wavekeeper.toml", SETTINGS + SCRIPTED)
    tasks = [
        TASK.replace("T-1", f"T-{one}").replace("services/mailer", f"services/mailer{one}")
        for one in (1, 2, 3)
    ]
    project.write("w.toml", GOOD[: GOOD.index("[[task]]")] + "".join(tasks))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        assert here("submit", "w.toml").returncode == 0
        assert here("run", "--mode", "approve", "--once").returncode == 0
    return project


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    copied = template.copy(tmp_path)
    monkeypatch.chdir(copied.folder)
    return copied


def states(project):
    with State(project.state / "state.db") as state:
        return [one.state for one in state.approvals.requests(live=False)]


def requests(project):
    with State(project.state / "state.db") as state:
        return {one.id: one for one in state.approvals.requests(live=False)}


def test_every_key_does_what_the_help_says(project):
    shown = desk(
        project,
        [
            (f"submit T-1 with this prompt{QUESTION}", "\r"),
            ("decides nothing.*" + QUESTION, "\x1b[A"),
            ("decides nothing.*" + QUESTION, "yy"),
            ("decides nothing.*" + QUESTION, "?"),
            ("Enter decides nothing.*" + QUESTION, "o"),
            ("What to report.*snapshot.*" + QUESTION, "j"),
            ("2 of 3.*submit T-2" + ".*" + QUESTION, "k"),
            ("1 of 3.*submit T-1" + ".*" + QUESTION, "n"),
            ("reason, for the record .*:", "\n"),
            (QUESTION, "n"),
            ("reason, for the record .*:", "use the fake clock\n"),
            ("A-1 rejected.*1 of 2.*" + QUESTION, "d"),
            ("for how long", "2h\n"),
            ("A-2 is put off until .*2 of 2.*" + QUESTION, "k"),
            ("submit T-3" + ".*" + QUESTION, "y"),
            ("A-3 approved; the supervisor looks again.*" + QUESTION, "q"),
        ],
    )
    assert "1 question stays undecided" in shown
    assert states(project) == ["rejected", "deferred", "approved"]
    first = requests(project)["A-1"].answer
    assert (first.reason, first.via) == ("use the fake clock", "panel")
    assert first.looked is not None
    assert here("run", "--mode", "approve", "--once").returncode == 0
    assert [one.task for one in project.records("intent")] == ["T-3"]


def test_yes_to_all_of_a_kind_lists_them_and_wants_their_number(project):
    shown = desk(
        project,
        [
            (QUESTION, "a"),
            ("type 3 to approve all of these:", "y\n"),
            ("not confirmed; nothing was decided.*" + QUESTION, "a"),
            ("type 3 to approve all of these:", "3\n"),
        ],
    )
    for name in ("T-1", "T-2", "T-3"):
        assert f"send {name} to main" in shown
    assert states(project) == ["approved"] * 3


def test_a_high_risk_wants_the_task_typed_and_takes_no_rule(project):
    with State(project.state / "state.db") as state:
        request = state.approvals.request("A-1")
        state.approvals.change(
            "A-1", request.digest, lambda one: one.model_copy(update={"tier": "high"})
        )
    desk(
        project,
        [
            (r"risk high.*" + QUESTION, "y"),
            ("type T-1 to confirm:", "\n"),
            ("not confirmed.*" + QUESTION, "a"),
            ("one by one.*" + QUESTION, "y"),
            ("type T-1 to confirm:", "T-1\n"),
            ("A-1 approved.*" + QUESTION, "q"),
        ],
    )
    assert states(project) == ["approved", "pending", "pending"]


def bundle(project):
    change = {"bundle": "submit D-1"}
    with State(project.state / "state.db") as state:
        for one in state.approvals.requests(live=True):
            state.approvals.change(one.id, one.digest, lambda it: it.model_copy(update=change))


def test_a_bundle_is_one_question_with_one_answer(project):
    bundle(project)
    shown = desk(project, [("submit T-1 and 2 more of one cause.*these 3" + QUESTION, "y")])
    assert "and A-3: send T-3 to main" in shown
    assert states(project) == ["approved"] * 3


def test_a_bundle_can_be_taken_apart(project):
    bundle(project)
    desk(
        project,
        [
            ("these 3" + QUESTION, "o"),
            ("AND.*A-3: send T-3.*" + QUESTION, "s"),
            (f"submit T-1 with this prompt{QUESTION}", "y"),
            (f"submit T-2 with this prompt{QUESTION}", "q"),
        ],
    )
    assert states(project) == ["approved", "pending", "pending"]


def editor(folder, name, body):
    path = folder / name
    path.write_text(f"import sys, pathlib\np = pathlib.Path(sys.argv[1])\n{body}\n")
    return f"{sys.executable} {path}"


NO_EDITS = """
step = p.parent.parent / "step"
done = int(step.read_text()) if step.exists() else 0
step.write_text(str(done + 1))
if done == 0:
    p.write_text("")
if done == 2:
    p.write_text("x")
    sys.exit(3)
if done == 3:
    p.write_text("Do it as we discussed.")
"""


def test_an_edit_that_is_none_or_does_not_stand_changes_nothing(project, tmp_path, monkeypatch):
    """Emptied, left as it was, an editor that failed, and words that lean on what nobody sees."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("VISUAL", editor(tmp_path, "editor.py", NO_EDITS))
    before = requests(project)["A-1"]
    none = "not edited; nothing was decided.*" + QUESTION
    refused = "refused by the linter: .*the prompt is as it was drafted.*" + QUESTION
    desk(project, [(QUESTION, "e"), (none, "e"), (none, "e"), (none, "e"), (refused, "q")])
    assert (tmp_path / "step").read_text() == "4"
    assert requests(project)["A-1"] == before


def test_an_edited_prompt_is_shown_as_a_difference_asked_anew_and_sent(
    project, tmp_path, monkeypatch
):
    body = (
        "p.write_text(p.read_text().replace('## Background\\n', '## Background\\n\\nUse it.\\n'))"
    )
    monkeypatch.setenv("EDITOR", editor(tmp_path, "editor.py", body))
    monkeypatch.delenv("VISUAL", raising=False)
    before = requests(project)["A-1"]
    desk(
        project,
        [
            (QUESTION, "e"),
            (r"\+ Use it\..*edited; linter and guard agree; A-1 is asked again.*" + QUESTION, "y"),
            ("A-1 approved.*" + QUESTION, "q"),
        ],
    )
    after = requests(project)["A-1"]
    assert after.digest != before.digest
    assert after.drafted == before.proposal.prompt
    assert here("run", "--mode", "approve", "--once").returncode == 0
    (sent,) = project.records("intent")
    assert "Use it." in sent.body["proposal"]["prompt"]
    assert "prompt edited" in here("explain", "T-1").stdout


RULES = [
    pytest.param("most_uses = 5", "most_uses = 999", "most_uses: at most 50", id="too many"),
    pytest.param("until = 20", "until = 21", "until: at most 14 days", id="too long"),
    pytest.param('"submit"', '"retry"', "this question is about submit", id="another action"),
    pytest.param("tasks =", "task =", "no rule was made: task: Extra inputs", id="misspelt"),
    pytest.param("most_uses = 5", "most_uses = ", "no rule was made: Invalid value", id="no TOML"),
]


@pytest.mark.parametrize(("old", "new", "said"), RULES)
def test_a_rule_beyond_the_policy_is_refused(old, new, said):
    text = draft_rule(request(action=Action.SUBMIT), datetime.now(UTC))
    assert parse_rule(text, request(action=Action.SUBMIT), "ana", POLICY).most_uses == 5
    with pytest.raises(UserError, match=said):
        parse_rule(text.replace(old, new), request(action=Action.SUBMIT), "ana", POLICY)


@pytest.mark.long
def test_a_rule_answers_the_next_question_until_it_is_revoked(project, tmp_path, monkeypatch):
    body = "p.write_text(p.read_text().replace('\"T-1\"', '\"T-[12]\"'))"
    monkeypatch.setenv("VISUAL", editor(tmp_path, "editor.py", body))
    desk(project, [(QUESTION, "R"), (r"R-1: submit of T-\[12\].*" + QUESTION, "q")])
    assert here("run", "--mode", "approve", "--once").returncode == 0
    assert [one.task for one in project.records("intent")] == ["T-1", "T-2"]
    assert "R-1 in force: submit of T-[12] " in here("policy", "rules").stdout
    assert "used 2 of 5" in here("policy", "rules").stdout
    assert here("policy", "rules", "--revoke", "R-1").returncode == 0
    assert "R-1 revoked" in here("policy", "rules").stdout


def test_without_a_terminal_it_says_which_command_answers(project):
    ended = here("approve")
    assert (ended.returncode, ended.stdout) == (3, "")
    command = re.search(r"wavekeeper (approve A-1 --digest \w+)", ended.stderr)
    assert here(*command[1].split()).stdout.startswith("A-1 approved; nobody supervises now")
    assert states(project)[0] == "approved"


def test_a_command_approves_only_where_that_is_configured(project):
    project.write("wavekeeper.toml", SETTINGS)
    digest = requests(project)["A-1"].digest
    asked = here("approve")
    assert (asked.returncode, "at a terminal answers" in asked.stderr) == (3, True)
    for command in (["approve", "A-1", "--digest", digest], ["approve", "A-1"]):
        ended = here(*command)
        assert (ended.returncode, ended.stdout) == (3, "")
        assert "write scripted = true under [approvals] in wavekeeper.toml" in ended.stderr
    assert states(project)[0] == "pending"
    assert here("reject", "A-1", "-m", "not now").returncode == 0


def test_cards_are_listed_as_lines_and_as_json(project):
    lines = here("approve", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["A-1", "A-2", "A-3"]
    told = json.loads(here("approve", "--list", "--json").stdout)
    assert {one["id"] for one in told["cards"]} == set(requests(project))
    assert told["schema"] == "wavekeeper.cards/1"
    assert lines[0].split()[1] == told["cards"][0]["digest"][:12]


COMMANDS = [
    (["approve", "A-1"], 2, "name what you approve: --digest"),
    (["approve", "A-1", "--digest", "0" * 12], 7, "nothing was done"),
    (["approve", "A-9", "--digest", "0" * 12], 2, "no request 'A-9'"),
    (["reject", "A-1", "-m", " "], 2, "say why"),
    (["reject", "A-9", "-m", "x"], 2, "no request 'A-9'"),
    (["defer", "A-1", "--for", "soon"], 2, "'soon'"),
]


def test_a_command_that_cannot_be_done_says_so_in_one_line(project):
    for command, code, said in COMMANDS:
        ended = here(*command)
        assert ended.returncode == code
        assert said in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert states(project) == ["pending"] * 3


def test_after_the_first_answer_every_other_one_is_told_and_changes_nothing(project):
    digest = requests(project)["A-1"].digest
    assert here("reject", "A-1", "-m", "not now").returncode == 0
    for command in (
        ["approve", "A-1", "--digest", digest],
        ["reject", "A-1", "-m", "again"],
        ["defer", "A-1"],
    ):
        ended = here(*command)
        assert ended.returncode == 7
        assert "A-1 was rejected by" in ended.stderr
    assert len(project.records("answered")) == 1


# From here on with processes of their own.


def test_keys_typed_ahead_and_ctrl_c_in_the_editor_decide_nothing(project, tmp_path):
    slow = editor(tmp_path, "slow.py", "import time\nprint('editing', flush=True)\ntime.sleep(60)")
    child = program(project, "approve", VISUAL=slow)
    child.expect("GUARD")
    child.send("y")  # before the question stands there
    child.expect(QUESTION)
    child.setwinsize(24, 60)
    child.send("j")
    child.expect(r"2 of 3(.*)submit T-2 with")
    assert max(map(len, SEQUENCE.sub("", child.match[1]).splitlines()[1:])) <= 60
    child.expect(QUESTION)
    child.send("e")
    child.expect("editing")
    child.sendintr()
    child.expect("not edited; nothing was decided")
    child.expect(QUESTION)
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    assert "Traceback" not in child.before
    assert states(project) == ["pending"] * 3


def test_two_terminals_ask_the_same_and_the_second_is_told(project):
    one, other = program(project, "approve"), program(project, "approve")
    for child in (one, other):
        child.expect(f"submit T-1 with this prompt{QUESTION}")
    one.send("y")
    one.expect("A-1 approved")
    other.send("y")
    other.expect(r"A-1 was approved by \S+ at \d\d:\d\d:\d\dZ; nothing was done")
    one.kill(signal.SIGKILL)  # between its answer and the effect
    other.terminate(force=True)
    assert len(project.records("answered")) == 1
    for _ in range(2):
        assert here("run", "--mode", "approve", "--once").returncode == 0
    assert [one.task for one in project.records("intent")] == ["T-1"]


@pytest.mark.long
def test_a_supervisor_at_rest_hears_an_answer_at_once(project):
    child = project.start("run", "--mode", "approve", "--interval", "1h", stdout=subprocess.PIPE)
    try:
        assert b"A-1 asks: T-1 submit: planned, " in child.stdout.readline()
        digest = requests(project)["A-2"].digest
        said = here("approve", "A-2", "--digest", digest).stdout
        assert said == "A-2 approved; the supervisor looks again and then does it\n"
        assert any(b"T-2 submit: " in line for line in iter(child.stdout.readline, b""))
    finally:
        child.terminate()
        child.wait(timeout=30)
        child.stdout.close()


LOOSENED = [
    ('submit = "low"', 'submit = "told"', "tier.submit: 'told' loosens 'low'"),
    ("high = 86400", "high = 86401", "expires.high: more than 86400"),
    ("most_uses = 50", "most_uses = 51", "rules.most_uses: more than 50"),
    ('submit = "low"\n', "", "no tier for 'submit'"),
    ("[tier]", '[tier]\nreview = "low"', "nobody is ever asked about 'review'"),
]


def test_an_own_policy_may_tighten_and_not_loosen(tmp_path):
    shipped = wiring.shipped("policies")
    text, own = (shipped / "approval.toml").read_text(encoding="utf-8"), tmp_path / "approval.toml"
    own.write_text(text.replace('submit = "low"', 'submit = "high"'), encoding="utf-8")
    tightened = read_policy(shipped, tmp_path)
    assert tightened.approval.tier[Action.SUBMIT] == "high"
    assert tightened.hash != POLICY.hash
    for old, new, said in LOOSENED:
        own.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(PolicyError, match=f"approval.toml:\\d+: .*{re.escape(said)}"):
            read_policy(shipped, tmp_path)
