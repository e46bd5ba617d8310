"""The command line in front of a Code Queue: doctor, submit, run, status, work."""

import json
from datetime import UTC, datetime

import pytest

from agent.adapters.queue.embedded import SqliteQueue
from agent.core.model.queueing import QueueSpec
from tests.acceptance.program import GOOD, SETTINGS, Project, here
from tests.adapters.queue_world import ORDER
from tests.standins import code_queue as standin
from tests.standins.code_queue import Fault, serving

pytestmark = pytest.mark.usefixtures("project")


def now():
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    project = Project.whole(tmp_path_factory.mktemp("whole"))
    project.push_a_first_commit()
    return project


@pytest.fixture
def service(tmp_path):
    with serving() as server, SqliteQueue(tmp_path / "theirs.db", now) as queue:
        queue.configure(QueueSpec(id="main"))
        queue.configure(QueueSpec(id="infra", kind="infrastructure", risk="low"))
        queue.submit("t-other", queue="main", prompt="p", order=ORDER, key="other")
        server.service = standin.CodeQueue(queue, now)
        server.service.url = server.url
        yield server.service
        server.service.close()


@pytest.fixture
def project(tmp_path, template, service, monkeypatch):
    monkeypatch.setenv("CODE_QUEUE_STANDIN", service.url)
    project = template.copy(tmp_path)
    project.write("wavekeeper.toml", settings(service))
    monkeypatch.chdir(project.folder)
    return project


def settings(service, *, command=(), **more):
    told = {"spacing": "0.01s", "fresh": "0.01s", "timeout": "20s"} | more
    lines = [f'{name} = "{value}"' for name, value in told.items()]
    return "\n".join(
        [
            SETTINGS,
            "[queue]",
            'kind = "code-queue"',
            f"command = {json.dumps(list(command))}" if command else "",
            *lines,
            "[queue.http]",
            f'url = "{service.url}"',
        ],
    )


def checks():
    ended = here("doctor", "--json")
    found = {one["name"]: one for one in json.loads(ended.stdout)["checks"]}
    return ended.returncode, found


def test_doctor_finds_nothing_wrong_with_a_code_queue_that_works(project, service):
    project.write("wavekeeper.toml", settings(service, command=standin.PROGRAM))
    code, found = checks()
    assert code == 0
    assert found.pop("judge")["said"] == "no judge host was here yet"
    assert {one["state"] for one in found.values()} == {"ok"}
    assert "2 queues; no diagnostics" in found["code queue by command line"]["said"]
    assert found["proxy"]["said"] == "command line and proxy say the same"
    assert found["queues"]["said"] == "infra, main"
    assert found["task"]["said"] == "t-other is read"


@pytest.mark.parametrize(
    ("fault", "name", "said", "fix"),
    [
        pytest.param(
            Fault("html", way="http"), "code queue by proxy", "text/html", "[queue.http]", id="HTML"
        ),
        pytest.param(
            Fault("html", way="cli"), "code queue by command line", "no JSON", "[queue.commands]",
            id="HTML by command line",
        ),
        pytest.param(
            Fault("lost-answer", way="http"), "code queue by proxy", "broke off",
            "see that it runs", id="no answer",
        ),
        pytest.param(
            Fault("truncated", call="task"), "task", "no JSON", "[queue.fields]", id="a task"
        ),
    ],
)  # fmt: skip
def test_doctor_says_what_is_wrong_with_it_and_how_to_fix_it(
    project, service, fault, name, said, fix
):
    command = standin.PROGRAM if fault.way == "cli" else ()
    project.write("wavekeeper.toml", settings(service, command=command))
    service.faults.append(fault)
    code, found = checks()
    assert (code, found[name]["state"]) == (1, "fail")
    assert said in found[name]["said"]
    assert fix in found[name]["fix"]


def test_doctor_names_queues_that_are_not_there(project, service):
    lanes = '\n[[queue.queues]]\nid = "svc-a"\n'
    project.write("wavekeeper.toml", settings(service) + lanes)
    code, found = checks()
    assert (code, found["queues"]["state"]) == (1, "fail")
    assert found["queues"]["said"] == "svc-a: not there; there are infra, main"


def test_doctor_names_what_a_task_does_not_say(project, service):
    lines = '\n[queue.fields]\n"task.scheduler.status" = "x"\n"task.createdAt" = "y"\n'
    project.write("wavekeeper.toml", settings(service) + lines)
    _, found = checks()
    assert found["task"]["state"] == "warn"
    assert found["task"]["said"].endswith("it does not say: createdAt, scheduler.status")


def test_doctor_names_a_control_plane_that_says_nothing(project, service):
    lines = '\n[queue.fields]\n"queues.controlPlane.reachable" = "x"\n'
    project.write("wavekeeper.toml", settings(service) + lines)
    _, found = checks()
    assert "nothing will be done" in found["code queue by proxy"]["said"]


def test_a_wave_is_submitted_seen_and_told(service):
    assert here("submit", "w.toml").returncode == 0
    ended = here("run", "--once")
    assert "T-1 submit: planned, and nothing blocks it -> submitted to main" in ended.stdout
    told = json.loads(here("status", "--json").stdout)
    (task,) = told["tasks"]
    assert (task["id"], task["status"]) == ("T-1", "queued")
    queues = {one["id"]: one for one in told["queues"]}
    assert (queues["main"]["counts"]["queued"], queues["main"]["unread"]) == (2, 0)
    (own,) = (one for one in service.queue.changed_since(None).tasks if one.id != "t-other")
    assert "Name the address in the mailer's error" in own.prompt


def test_a_queue_that_is_down_stops_nothing_and_does_nothing(service):
    here("submit", "w.toml")
    service.faults.append(Fault("html"))
    ended = here("run", "--once")
    assert ended.returncode == 0
    assert len(service.queue.changed_since(None).tasks) == 1
    assert here("status").returncode == 0


def test_a_ledger_that_is_gone_is_named(project):
    here("submit", "w.toml")
    here("run", "--once")
    (project.state / "code-queue.db").unlink()
    ended = here("run", "--once")
    assert ended.returncode == 2
    assert "code-queue.db is gone; restore it" in ended.stderr


def test_work_is_for_the_embedded_queue():
    ended = here("work")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "has workers of its own" in ended.stderr


def test_a_queue_that_waves_may_not_name_is_refused_at_once(project, service):
    lanes = '\n[[queue.queues]]\nid = "main"\n'
    project.write("wavekeeper.toml", settings(service) + lanes)
    project.write("w.toml", GOOD.replace('queue = "main"', 'queue = "mian"'))
    ended = here("submit", "w.toml")
    assert ended.returncode == 2
    assert "names the queue 'mian', which wavekeeper.toml does not have" in ended.stderr
