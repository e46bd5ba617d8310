"""Each secret at each crossing: what an attempt prints is followed to all that is sent or shown.

One wave is played on the wired program: a real state, a real repository, and stand-ins for the
model and for GitHub that keep every byte they are sent.
"""

import json
import subprocess
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from agent import wiring
from agent.adapters.state.db import State
from agent.cli.approval.panel import Panel
from agent.core.journal.records import WaveRecord
from agent.core.model.nouns import Command, CommandResult, Evidence, JudgeRecord, ProofKind, Usage
from agent.core.model.queueing import NewEvent, Report, TaskView
from agent.core.model.secrets import Redactor
from agent.core.prompts.linter import DraftRequest
from agent.core.review.brief import Brief
from agent.errors import NothingDoneError
from agent.ports import Issue, Proposed
from agent.runtime.approval_answers import Answering
from agent.runtime.context import Supervision
from agent.runtime.crossings import (
    clean_drafter,
    clean_judge_source,
    clean_ports,
    clean_source,
)
from agent.runtime.replay import Session, replay
from agent.runtime.submit_wave import plan
from agent.runtime.tick import Ticker
from tests.acceptance.program import GOOD, Project, environment, here
from tests.acceptance.test_panel import Console, Terminal
from tests.adapters.loopback import served
from tests.adapters.test_issues_github import SECRET as GITHUB_KEY
from tests.adapters.test_issues_github import GitHub
from tests.core.secret_samples import KEYS, VALUE
from tests.model.standin import StandIn, message
from tests.runtime.test_reviewing import TO_READ, ScriptedReviewer, says
from tests.simulation.small_world import POLICY, SmallWorld, spec

SECRETS = {
    "a key": KEYS["github-token"],
    "a key of the cloud": KEYS["aws-key"],
    "a password in an address": "s3same-0pen",
    "a configured value": VALUE,
    "the model's key": "m0del-key-in-use",
    "the tracker's key": GITHUB_KEY,
    "a value for the agent": "d4tabase-w0rds",
}
LEAK = "fatal: Authentication failed for 'https://ann:{}@git.example/x' ".format(
    SECRETS["a password in an address"]
) + " ".join(value for name, value in SECRETS.items() if "address" not in name)
"""One line, because an issue quotes the line by which a cause was recognised."""
ASSERTED = LEAK.replace("fatal: Authentication failed for", "E  assert")
"""A line of a test is the task's own fault, so that it is sent back and not parked."""

SETTINGS = """
[supervisor]
mode = "auto"

[worker]
command = ["true"]
[worker.environment]
DB_PASSWORD = "d4tabase-w0rds"

[model]
reviewer = "anthropic"
drafter = "anthropic"
base_url = "{model}"
key_variable = "MODEL_KEY"

[issues]
home = "github"
repository = "team/defects"
api = "{github}"
token = "ISSUES_TOKEN"

[[services.shop.command]]
proof = "live-health"
argv = ["true"]
environment = ["SHOP_TOKEN", "LANG"]
"""
TASK = GOOD[GOOD.index("[[task]]") :]
READ = """
[[task.criteria]]
id = "C2"
text = "the words are clear"
proof = "judgement"
"""


def answered(request, _number):
    """A model that takes what it was shown into its mouth."""
    if "remaining" in json.dumps(request["output_config"]):
        step = {"criterion": "C1", "step": f"look at {LEAK}"[:590]}
        answer = {"done": [], "failed": LEAK, "remaining": [step]}
    else:
        given = {"justification": LEAK, "quotes": [], "verdict": "cannot-tell"}
        answer = {
            "criteria": [{"id": one, **given} for one in ("C1", "C2")],
            "injection_suspected": False,
        }
    return message(request, json.dumps(answer))


def git(folder, *arguments):
    ran = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment(), check=True, capture_output=True
    )
    return ran.stdout.decode().strip()


def pushed(project, task):
    """A commit on the task's branch, with the leak in a file."""
    git(project.folder, "checkout", "-q", "-B", task, "origin/main")
    project.write("services/mailer/check.py", f"# {LEAK}\n")
    git(project.folder, "add", "-f", "services")
    git(project.folder, "commit", "-qm", "Work")
    git(project.folder, "push", "-q", "origin", f"HEAD:refs/heads/wavekeeper/{task}")
    return git(project.folder, "rev-parse", "HEAD")


def worked(project, settings):
    """A worker host on which one attempt fails, and the others push and say so."""
    said = {"final_response": f"All done. {LEAK}"}
    with wiring.open_work(settings) as source:
        while lease := source.claim("h", ["main", "infra"], lease=60):
            if lease.task not in ("T-1", "T-2", "T-3") or lease.attempt > 1:
                continue
            source.beat(lease, [NewEvent(at=datetime.now(UTC), kind="text", text=LEAK)], extend=60)
            report = Report(state="failed", last_error=LEAK, **said)
            if lease.task != "T-1":
                pushed(project, lease.task)
                report = Report(state="succeeded", **said)
            assert source.finish(lease, report) == "taken"


def judged(settings):
    """A judge host for which the check of T-2 fails, and every other passes."""
    with wiring.open_judgements(settings) as kept:
        source = clean_judge_source(kept, wiring.redactor(settings))
        while lease := source.claim("j", lease=60, heavy=True):
            order, ok = lease.order, lease.order.task != "T-2"
            ran = tuple(
                CommandResult(argv=one.argv, exit_code=not ok, output=ASSERTED, ok=ok)
                for one in order.commands
            )
            record = JudgeRecord(
                verdict="pass" if ok else "fail", at=datetime.now(UTC), commit=order.commit,
                commands=ran, reason=ASSERTED, base=order.base, base_commands=ran, shown=ok,
                host="j",
            )  # fmt: skip
            assert source.finish(lease, record)


def project_of(folder, model, github):
    """Four tasks; the third is to be read, and a person wrote a secret into the fourth."""
    project = Project.whole(folder)
    project.push_a_first_commit()
    project.write("wavekeeper.toml", SETTINGS.format(model=model, github=github))
    tasks = [TASK.replace("T-1", f"T-{number}") for number in (1, 2, 3, 4)]
    tasks[2] += READ
    tasks[3] = tasks[3].replace("without a message", f"without this: {LEAK}")
    project.write("w.toml", GOOD[: GOOD.index("[[task]]")] + "\n".join(tasks))
    return project


def played(project):
    """The wave: submitted, worked on, read, asked about, and what follows from it."""
    settings = wiring.settings_above(project.folder)
    policy = wiring.policy_of(settings)
    auto = wiring.supervision(settings, policy)
    with wiring.open_ports(settings, policy) as ports:
        Ticker(ports, auto).tick()
        worked(project, settings)
        Ticker(ports, auto).tick()
        Ticker(ports, auto).tick()
        judged(settings)
        Ticker(ports, replace(auto, mode="approve")).tick()
        cards = list(ports.approvals.requests(live=True))
        for _ in range(4):
            Ticker(ports, auto).tick()
            judged(settings)
        views = [ports.queue.get(one.spec.id) for one in ports.store.task_records()]
    return cards, [one for one in views if one is not None]


def stored(project):
    """The journal, and whatever else lies in the databases."""
    with State(project.state / "state.db") as state:
        assert state.journal.verify() is None
        entries = list(state.journal.entries())
        digests = {one.record.body.get("snapshot") for one in entries} - {None}
        snapshots = [state.journal.snapshot(one) for one in sorted(digests)]
        policy = wiring.policy_of(wiring.settings_above(project.folder))
        everything = Session("S-1", datetime.now(UTC), "auto", policy.hash, 0, None)
        again = replay(state.journal, [everything], policy)
    files = [one for one in project.state.rglob("*.db*") if one.is_file()]
    differing = [str(one) for one in again.differing]
    return {
        "replay": json.dumps({"decisions": again.decisions > 0, "differing": differing}),
        "journal": "\n".join(one.model_dump_json() for one in entries),
        "snapshots": "\n".join(one.model_dump_json() for one in snapshots),
        "files": "\n".join(one.read_bytes().decode("latin-1") for one in files),
    }


def told():
    """What the commands print."""
    found = {}
    for words in (["status"], ["log"], *(["explain", f"T-{one}"] for one in (1, 2, 3))):
        found[" ".join(words)] = here(*words).stdout
        found[f"{' '.join(words)} in JSON"] = here(*words, "--json").stdout
    return found


def panels(cards):
    out = Terminal()
    for one in cards:
        Panel(Console(out, Terminal(), {"NO_COLOR": "1"}), one, [one], {}).whole()
    return out.getvalue()


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """What came out at each crossing, as one text."""
    environ = {**environment(), "SHOP_TOKEN": VALUE, "ISSUES_TOKEN": GITHUB_KEY,
               "MODEL_KEY": SECRETS["the model's key"]}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, StandIn(answered) as model, served() as server:
        github = GitHub(server)
        project = project_of(tmp_path_factory.mktemp("crossed"), model.url, server.url)
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.setattr("agent.adapters.issues.github._BETWEEN", 0.0)  # a stand-in has no such limit
        patch.chdir(project.folder)
        submitted = here("submit", "w.toml").stdout
        cards, views = played(project)
        assert github.issues
        asked = [json.dumps(body) for _, body in model.seen]
        return {
            "submit": submitted,
            "approval list": "\n".join(one.model_dump_json() for one in cards),
            "approval card": panels(cards),
            "issues": json.dumps([json.loads(one.body) for one in server.asked if one.body]),
            "model, review": "\n".join(one for one in asked if "injection_suspected" in one),
            "model, draft": "\n".join(one for one in asked if "remaining" in one),
            "prompts of later attempts": "\n".join(one.prompt for one in views if one.attempt > 1),
            "prompt of the fix": "\n".join(one.prompt for one in views if "fix-" in one.id),
            "prompt of a person's task": "\n".join(one.prompt for one in views if one.id == "T-4"),
            **stored(project),
            **told(),
        }


QUIET = {"submit", "status", "log", "status in JSON", "log in JSON"}
"""Where nothing that was printed is shown anyway."""
CROSSINGS = (
    *sorted(QUIET), "approval list", "approval card", "issues", "model, review", "model, draft",
    "prompts of later attempts", "prompt of the fix", "prompt of a person's task", "journal",
    "snapshots", "files", "replay",
    *(f"explain {task}{how}" for task in ("T-1", "T-2", "T-3") for how in ("", " in JSON")),
)  # fmt: skip


def test_each_crossing_is_looked_at(crossed):
    assert set(crossed) == set(CROSSINGS)
    assert not [name for name, text in crossed.items() if not text]


def test_what_was_decided_is_decided_again_from_what_is_left(crossed):
    assert json.loads(crossed["replay"]) == {"decisions": True, "differing": []}


@pytest.mark.parametrize("crossing", CROSSINGS)
def test_no_secret_comes_out(crossed, crossing):
    assert not [name for name, value in SECRETS.items() if value in crossed[crossing]]


@pytest.mark.parametrize(
    "crossing", ["issues", "model, review", "model, draft", "prompts of later attempts",
                 "prompt of the fix", "prompt of a person's task", "journal", "snapshots", "files",
                 "approval list", "approval card"]
)  # fmt: skip
def test_what_was_there_is_named_in_its_place(crossed, crossing):
    assert "[removed: github-token]" in crossed[crossing]
    assert "[removed: SHOP_TOKEN]" in crossed[crossing]


class Broken(Redactor):
    """As if a pattern failed."""

    def text(self, text):
        raise RuntimeError(f"no match in {text[:3]}")


class Kept:
    """Any port: it keeps what it is asked, and answers with what it was given."""

    kinds = frozenset({ProofKind.COMMIT_PUSHED})
    name = "kept"

    def __init__(self, answer=None):
        self.asked = []
        self.answer = answer

    def __getattr__(self, name):
        def call(*arguments, **named):
            self.asked.append((name, arguments, named))
            return self.answer

        return call


def ports_around(tmp_path, secrets, **inner):
    """The ports of a small world, of which these are replaced, all cleaned by `secrets`."""
    return clean_ports(replace(SmallWorld(tmp_path, {}).world, **inner), secrets)


NEVER_SENT = {
    "an issue": ("issues", lambda port: port.open("f", "title", "body")),
    "a comment": ("issues", lambda port: port.comment("1", "body", key="k")),
    "a closing comment": ("issues", lambda port: port.close("1", "body", key="k")),
    "a document": ("references", lambda port: port.propose("a.md", "text", title="t", key="k")),
    "a prompt": ("queue", lambda port: port.submit("T-1", queue="main", prompt="words", order=None,
                                                   key="k")),
    "another prompt": ("queue", lambda port: port.retry("T-1", attempt=2, prompt="words", key="k",
                                                        fresh_session=True)),
    "a reason": ("queue", lambda port: port.interrupt("T-1", attempt=1, reason="words", key="k")),
    "a draft": ("drafter", lambda port: port.draft(DraftRequest(kind="initial", spec=spec(),
                                                                goal="goal", attempt=1))),
}  # fmt: skip


@pytest.mark.parametrize("crossing", NEVER_SENT)
def test_what_cannot_be_searched_is_never_sent(crossing, tmp_path):
    name, send = NEVER_SENT[crossing]
    inner = Kept()
    port = getattr(ports_around(tmp_path, Broken(), **{name: inner}), name)
    with pytest.raises(NothingDoneError, match=r"nothing was sent.*RuntimeError.*report this"):
        send(port)
    assert inner.asked == []


def test_a_model_is_not_asked_with_what_cannot_be_searched(tmp_path):
    inner = Kept()
    ports = ports_around(tmp_path, Broken(), reviewer=inner, writer=inner)
    brief = Brief(task="T-1", attempt=1, title="a title", criteria=(), exhibits=())
    (review,) = ports.reviewer.review([brief])
    assert review.code == "unclean"
    request = DraftRequest(kind="initial", spec=spec(), goal="goal", attempt=1)
    assert ports.writer.slots(request) == (None, Usage())
    assert inner.asked == []


def test_a_view_that_cannot_be_searched_makes_its_task_unreadable(tmp_path):
    small = SmallWorld(tmp_path, {})
    small.submit(spec("T-1"))
    small.ticker().tick()
    ports = clean_ports(small.world, Broken())
    changes = ports.queue.changed_since(None)
    assert changes.tasks == ()
    assert "could not be searched for secrets" in changes.unreadable["T-1"]
    # The journal cannot be written either, so nothing is done on top of it.
    with pytest.raises(RuntimeError):
        Ticker(ports, Supervision(policy=POLICY, mode="auto", interval=300.0)).tick()


def test_an_attempt_ends_and_says_nothing_that_cannot_be_searched():
    inner = Kept("taken")
    source = clean_source(inner, Broken())
    event = NewEvent(at=datetime.now(UTC), kind="text", text="words of a worker")
    source.beat(None, [event], extend=1)
    source.finish(None, Report(state="succeeded", final_response="words of a worker", session="s"))
    (_, (_, events), _), (_, (_, report), _) = inner.asked
    assert ["could not be searched for secrets" in one.text for one in events] == [True]
    assert (report.state, report.session, report.final_response) == ("failed", "s", None)
    assert "could not be searched for secrets" in report.last_error


UNCLEANED = {
    "clock": "it has no text",
    "machine": "it has no text",
    "own_commits": "it gives names of commits and nothing else",
    "policies": "they are a person's, and decide",
    "store": "what is saved was cleaned where it came in",
    "state": "it holds the store, the journal and the approvals",
}


def test_no_port_is_forgotten(tmp_path):
    small = SmallWorld(tmp_path, {}).world
    whole = replace(
        small,
        **{one.name: Kept() for one in fields(small) if getattr(small, one.name) is None},
    )
    cleaned = clean_ports(whole, Redactor())
    same = {
        one.name for one in fields(whole) if getattr(whole, one.name) is getattr(cleaned, one.name)
    }
    assert same == set(UNCLEANED)


def test_a_judgement_that_cannot_be_searched_is_none():
    inner = Kept(answer=True)
    ran = CommandResult(argv=("make",), exit_code=0, output="words of a worker", ok=True)
    record = JudgeRecord(verdict="pass", at=datetime.now(UTC), commands=(ran,), shown=True)
    clean_judge_source(inner, Broken()).finish(None, record)
    ((_, (_, handed_in), _),) = inner.asked
    assert (handed_in.verdict, handed_in.commands) == ("unknown", ())
    assert "words of a worker" not in str(handed_in)


def test_what_comes_in_is_cleaned_before_anybody_sees_it(tmp_path):
    found = Evidence(
        id="e", kind=ProofKind.COMMIT_PUSHED, origin="observed", value="c" * 40, detail=LEAK
    )
    secrets = Redactor({"SHOP_TOKEN": VALUE})
    ports = ports_around(
        tmp_path, secrets, probes=(Kept([found]),), diffs=Kept(LEAK), remote=Kept([LEAK])
    )
    (probe,) = ports.probes
    assert probe.kinds == Kept.kinds
    (item,) = probe.probe(spec(), None, None)
    assert "[removed: SHOP_TOKEN]" in item.detail
    assert item.value == "c" * 40
    assert "[removed: github-token]" in ports.diffs.diff("b" * 40, "c" * 40)
    (line,) = ports.remote.foreign("c" * 40, None, ())
    assert "[removed: github-token]" in line


def test_what_a_document_and_an_issue_are_given_is_clean(tmp_path):
    proposed, opened = Kept(Proposed("branch", "c" * 40)), Kept(Issue("1", "here"))
    secrets = Redactor({"SHOP_TOKEN": VALUE})
    ports = ports_around(tmp_path, secrets, references=proposed, issues=opened)
    ports.references.propose("a.md", LEAK, title=VALUE, key="k")
    ports.issues.open("f", VALUE, LEAK)
    for asked in (*proposed.asked, *opened.asked):
        assert VALUE not in str(asked)
        assert KEYS["github-token"] not in str(asked)


def test_a_person_s_words_in_a_prompt_are_cleaned(tmp_path):
    drafter = clean_drafter(SmallWorld(tmp_path, {}).world.drafter, Redactor())
    told = spec(background=f"Clone it with {KEYS['github-token']} in your hand, then change it.")
    prompt = drafter.draft(DraftRequest(kind="initial", spec=told, goal="goal", attempt=1))
    assert "Clone it with [removed: github-token] in your hand" in prompt


def test_a_command_is_shown_without_its_password_and_run_with_it(tmp_path):
    argv = ("psql", "postgres://ann:s3same@db/shop", "-c", "select 'of a task'")
    told = spec(acceptance_commands=(Command(argv=argv),))
    drafter = clean_drafter(SmallWorld(tmp_path, {}).world.drafter, Redactor())
    wave = WaveRecord(id="w1", goal="goal", submitted_at=datetime.now(UTC), source="w.toml")
    (planned,), refused = plan(wave, [told], drafter, POLICY.completion)
    assert refused == []
    assert "psql postgres://[removed: password-in-address]@db/shop -c" in planned.prompt
    assert planned.spec.acceptance_commands[0].argv == argv


def test_a_command_with_the_value_of_a_variable_is_refused(tmp_path, monkeypatch):
    project = project_of(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:1")
    task = TASK.replace('"services/mailer/check.py"', f'"check.py", "{VALUE}"')
    project.write("w.toml", GOOD[: GOOD.index("[[task]]")] + task)
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("SHOP_TOKEN", VALUE)
    ended = here("submit", "w.toml")
    assert ended.returncode == 2
    assert ended.stderr.endswith(
        "w.toml:6: task T-1: an acceptance command holds the value of a configured variable; "
        "let the command read the variable\n"
    )


def test_a_review_counts_although_a_secret_was_removed_from_what_it_rests_on(tmp_path):
    reviewer = ScriptedReviewer([says("met")])
    secrets = Redactor({"A_WORD": "All done."})  # what the small world's workers say
    small = SmallWorld(
        tmp_path, {}, wrap=lambda ports: clean_ports(replace(ports, reviewer=reviewer), secrets)
    )
    small.submit(spec(criteria=TO_READ))
    small.run(ticks=12)
    assert small.outcome() == {"T-1": ("accepted", 1)}
    assert reviewer.asked == [["T-1"]]


def test_a_prompt_that_a_person_edits_is_cleaned_before_it_is_asked_anew(tmp_path):
    small = SmallWorld(tmp_path, {}, wrap=lambda ports: clean_ports(ports, Redactor()))
    small.submit(spec())
    ports = small.wrap(small.world)
    small.ticker("approve").tick()
    person = Answering(ports, POLICY, "ana@host")
    (request,) = person.waiting()
    words = request.proposal.prompt + f"\nUse {KEYS['github-token']} for it.\n"
    edited = person.edit(request, words)
    assert edited.findings == ()
    assert "Use [removed: github-token] for it." in edited.request.proposal.prompt
    person.approve(edited.request, via="panel", looked=3.5)
    small.ticker("approve").tick()
    assert small.queue.get("T-1").prompt == edited.request.proposal.prompt


def test_the_view_keeps_what_is_compared(tmp_path):
    small = SmallWorld(tmp_path, {})
    command = ["curl", f"https://ann:{SECRETS['a password in an address']}@git.example/x"]
    small.submit(spec("T-1"))
    small.ticker().tick()
    view = small.queue.get("T-1")
    order = view.order.model_copy(
        update={"acceptance_commands": (view.order.acceptance_commands[0].model_copy(
            update={"argv": tuple(command)}),)}
    )  # fmt: skip
    ports = ports_around(tmp_path, Redactor(), queue=Kept(view.model_copy(update={"order": order})))
    seen: TaskView = ports.queue.get("T-1")
    assert seen.order == order
