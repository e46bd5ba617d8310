import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from agent.adapters.agents import isolation
from agent.adapters.agents.command import CommandRunner
from agent.adapters.queue.judgements import SqliteJudgements
from agent.backends import Boundary
from agent.core.model.nouns import Command
from agent.errors import LockHeldError, QueueUnavailableError, SpawnError, WorktreeError
from tests.adapters.git_origin import BRANCH, Origin
from tests.adapters.processes import until
from tests.runtime.judge_world import LEASE, World, shell

CHANGED = shell("grep -q changed src/one.py")
"""Fails on the base, and passes on the branch."""
TRUE = Command(argv=("true",))
FALSE = Command(argv=("false",))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """To be copied: that is faster than to make it anew."""
    origin = Origin.new(tmp_path_factory.mktemp("judged"))
    origin.write("tests/test_a.py", "a\n")
    origin.commit()
    origin.push("main")
    origin.pushed("src/one.py")
    return origin


@pytest.fixture
def world(model: Origin, tmp_path: Path) -> Iterator[World]:
    world = World(model.copy(tmp_path), tmp_path)
    yield world
    world.tidy()


def test_a_judgement_from_order_to_record(world: World) -> None:
    record = world.judged(CHANGED, TRUE)
    commit = world.origin.git("rev-parse", BRANCH)
    assert (record.verdict, record.reason, record.commit) == ("pass", None, commit)
    assert [(one.argv, one.ok) for one in record.commands] == [
        (CHANGED.argv, True),
        (TRUE.argv, True),
    ]
    assert (record.base, record.shown, record.host) == (world.base, True, "judge-1")
    assert [(one.argv, one.ok) for one in record.base_commands] == [(CHANGED.argv, False)]
    assert (record.changed_judges, record.restored) == (("src/one.py",), ())
    assert world.told == ["t1 attempt 1: judging", "t1 attempt 1: judged pass"]
    assert list((world.place / "judge/checkouts").iterdir()) == []


@pytest.mark.parametrize(
    ("commands", "verdict", "codes", "reason"),
    [
        pytest.param([TRUE, FALSE, TRUE], "fail", [0, 1], "false ended with 1", id="a-failure"),
        pytest.param(
            [shell("sleep 60", timeout=0.2)], "fail", [None], "sh -c 'sleep 60' did not end",
            id="out-of-time",
        ),
        pytest.param(
            [Command(argv=("no-such-tool",))], "fail", [127], "no-such-tool ended with 127",
            id="no-such-program",
        ),
        pytest.param(
            [shell("echo x >>src/one.py; rm README.md"), TRUE],
            "pass",
            [0, 0],
            "sh -c 'echo x >>src/one.py; rm README.md' changed README.md, src/one.py, which was "
            "put back",
            id="a-command-that-changes-the-tree",
        ),
    ],
)  # fmt: skip
def test_what_the_commands_do_is_the_verdict(
    world: World, commands: list[Command], verdict: str, codes: list[int | None], reason: str
) -> None:
    record = world.judged(*commands)
    assert (record.verdict, record.reason) == (verdict, reason)
    assert [one.exit_code for one in record.commands] == codes


@pytest.mark.parametrize(("last", "stays"), [("true", True), ("pytest", False)])
def test_no_command_decides_what_the_next_one_reads(
    world: World, last: str, *, stays: bool
) -> None:
    """What configures no command, and is not protected, may be what the next one needs."""
    spoil = shell(
        "echo weaker >tests/test_a.py; echo evil >tests/new.py; echo x >pytest.ini;"
        "rm -rf .git; mkdir out; echo built >out/x"
    )
    look = shell(
        "test $(cat tests/test_a.py) = a && test ! -e tests/new.py && git rev-parse HEAD "
        "&& test $(cat out/x) = built && if test -e pytest.ini; then echo stayed; fi"
    )
    version = Command(argv=(last, "--version"))
    record = world.judged(spoil, look, version, protected=("tests/**",))
    assert record.commands[1].ok
    assert ("stayed" in record.commands[1].output) == stays


def test_a_blocked_workflow_proceeds(world: World) -> None:
    known = shell("echo known; exit 1", expect="proceeds", fingerprint="x")
    fresh = shell("echo another; exit 1", expect="proceeds", fingerprint="x")
    world.order(fresh, known)
    record = world.record(same=lambda result, mark: mark == "x" and "known" in result.output)
    assert (record.verdict, [one.ok for one in record.commands]) == ("fail", [True, False])


# What nobody can say anything about is unknown, and no failure of the work.


def test_a_commit_that_is_no_longer_on_the_remote_is_unknown(world: World) -> None:
    record = world.judged(TRUE, commit="c0ffee" + "0" * 34)
    assert record.verdict == "unknown"
    assert record.reason == f"commit c0ffee{'0' * 34} is no longer on origin"
    assert (record.commit, record.commands) == (None, ())


@pytest.mark.parametrize(("branch", "verdict"), [("never", "unknown"), (BRANCH, "pass")])
def test_without_a_commit_the_head_of_the_branch_is_judged(
    world: World, branch: str, verdict: str
) -> None:
    record = world.judged(TRUE, commit=None, branch=branch)
    assert record.verdict == verdict
    assert record.reason == (None if verdict == "pass" else "there is no origin/never")


def test_without_a_branch_the_default_branch_is_judged(world: World) -> None:
    record = world.judged(TRUE, commit=None, branch=None, base=None)
    assert (record.verdict, record.commit, record.shown) == ("pass", world.base, None)


def test_a_base_that_is_gone_shows_nothing(world: World) -> None:
    record = world.judged(CHANGED, base="ba5e" + "0" * 36)
    assert (record.verdict, record.shown, record.base) == ("pass", None, None)
    assert record.reason == f"the base ba5e{'0' * 36} is no longer on origin"


def test_a_base_that_is_gone_protects_nothing_so_nothing_is_judged(world: World) -> None:
    record = world.judged(CHANGED, base="ba5e" + "0" * 36, protected=("tests/**",))
    assert (record.verdict, record.commands) == ("unknown", ())


PYTEST = Command(argv=(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"))
UNITTEST = Command(argv=(sys.executable, "-m", "unittest", "tests.test_a"))
GOOD_TEST = """\
import unittest, sys
sys.path.insert(0, "src")
class T(unittest.TestCase):
    def test_a(self):
        import one
        self.assertEqual(one.f(2), 4)
"""


@pytest.mark.parametrize(
    ("command", "module", "verdict"),
    [
        pytest.param(UNITTEST, "def f(x): return 2 * x\n", "pass", id="honest"),
        pytest.param(UNITTEST, "def f(x): return x\n", "fail", id="wrong"),
        pytest.param(UNITTEST, "import os; os._exit(0)\n", "unknown", id="exits-when-imported"),
        pytest.param(
            PYTEST, "import os\ndef f(x): os._exit(0)\n", "unknown", id="exits-when-called"
        ),
    ],
)
def test_a_run_that_is_cut_off_is_no_pass(
    world: World, command: Command, module: str, verdict: str
) -> None:
    world.pushed(base=True, tests__test_a_py=GOOD_TEST, src__one_py="", tests____init___py="")
    world.pushed(src__one_py=module)
    record = world.judged(command, protected=("tests/**",))
    assert record.verdict == verdict
    assert record.commands[0].ran == (None if verdict == "unknown" else 1)
    assert record.shown is (True if verdict == "pass" else None)


# The base.


@pytest.mark.parametrize(
    ("commands", "shown", "before"),
    [
        pytest.param([TRUE], False, [0], id="passed-before"),
        pytest.param([TRUE, CHANGED], True, [0, 1], id="the-second-shows-it"),
        pytest.param([CHANGED, TRUE], True, [1], id="the-first-shows-it"),
        pytest.param(
            [shell("grep -q changed src/one.py || sleep 60", timeout=0.5)], None, [None],
            id="no-end-on-the-base",
        ),
        pytest.param(
            [shell("true", expect="proceeds", fingerprint="x")], None, [0], id="none-must-pass"
        ),
    ],
)  # fmt: skip
def test_the_same_commands_run_on_the_base(
    world: World, commands: list[Command], *, shown: bool | None, before: list[int | None]
) -> None:
    record = world.judged(*commands)
    assert (record.verdict, record.shown) == ("pass", shown)
    assert [one.exit_code for one in record.base_commands] == before


def test_a_commit_that_fails_is_not_compared(world: World) -> None:
    record = world.judged(FALSE)
    assert (record.shown, record.base_commands) == (None, ())


def counting(world: World, script: str, **changed: float) -> Command:
    return shell(f"echo x >>{world.place}/runs; {script}", **changed)


def runs(world: World) -> int:
    return (world.place / "runs").read_text().count("x")


def test_what_a_base_says_is_asked_once_for_the_same_tree_and_commands(world: World) -> None:
    command = counting(world, "grep -q changed src/one.py")
    assert world.judged(command).shown is True
    assert runs(world) == 2
    # Another base commit of the same tree.
    world.origin.branch("main", "main")
    world.origin.commit()
    world.origin.push("main")
    world.base = world.origin.git("rev-parse", "main")
    world.order(command, attempt=2, key="two")
    record = world.record(2)
    assert (record.shown, runs(world)) == (True, 3)
    assert [one.exit_code for one in record.base_commands] == [1]
    world.order(command, attempt=3, key="three", protected=("docs/**",))
    assert world.record(3).shown is True
    assert runs(world) == 5


def test_what_could_not_be_made_on_the_base_is_tried_again(world: World) -> None:
    slow = counting(world, "grep -q changed src/one.py || sleep 60", timeout=0.4)
    assert world.judged(slow).shown is None
    world.order(slow, attempt=2, key="two")
    assert world.record(2).shown is None
    assert runs(world) == 4


def test_a_change_that_is_all_put_back_shows_nothing(world: World) -> None:
    command = counting(world, "true")
    record = world.judged(command, protected=("src/**",))
    assert (record.verdict, record.shown) == ("pass", False)
    assert record.restored == ("src/one.py",)
    assert runs(world) == 1


# What judges is not for the judged to change.


def test_a_protected_test_that_was_emptied_is_the_base_s(world: World) -> None:
    world.pushed(
        base=True, check_py="import sys; sys.exit('changed' in open('src/one.py').read())\n"
    )
    world.pushed(check_py="", src__one_py="changed\n")
    check = Command(argv=(sys.executable, "check.py"))
    record = world.judged(check)
    assert (record.verdict, record.changed_judges) == ("pass", ("check.py",))
    world.order(check, attempt=2, key="two", protected=("check.py",))
    record = world.record(2)
    assert (record.verdict, record.restored) == ("fail", ("check.py",))
    assert record.changed_judges == ("check.py",)


UNIT = Command(argv=(sys.executable, "-m", "unittest", "-q", "tests.test_b"), timeout=20)
FORGED = "import os\nos.write(2, b'Ran 1 test in 0.1s\\n\\nOK\\n')\nos._exit(0)\n"
B_TEST = """
import unittest, src.two
class T(unittest.TestCase):
    def test_b(self):
        self.assertEqual(src.two.f(), 2)
"""


@pytest.mark.parametrize(
    ("pushed", "shown"),
    [
        pytest.param({"src__two_py": "def f(): return 2"}, True, id="done"),
        pytest.param({"src__two_py": "def f(): return 2", "tests__test_b_py": f"{B_TEST}#"}, True,
                     id="done-and-the-test-changed"),
        pytest.param({"tests__test_b_py": B_TEST.replace("src.two.f()", "2"), "src__two_py": ""},
                     False, id="weaker"),
        pytest.param({"unittest_py": FORGED}, False, id="another-unittest"),
    ],
)  # fmt: skip
def test_a_change_that_only_its_own_checks_show_is_not_shown(
    world: World, pushed: dict[str, str], *, shown: bool
) -> None:
    world.pushed(base=True, tests__test_b_py=B_TEST)
    world.pushed(**pushed)
    record = world.judged(UNIT, TRUE)
    assert (record.verdict, record.shown) == ("pass", shown)


def test_a_new_test_shows_the_change(world: World) -> None:
    world.pushed(src__two_py="def f(): return 2", tests__test_b_py=B_TEST)
    assert world.judged(UNIT).shown is True


def test_a_link_in_the_place_of_a_test_is_a_changed_judge(world: World) -> None:
    world.origin.git("rm", "-q", "tests/test_a.py")
    (world.origin.work / "tests").mkdir(exist_ok=True)
    (world.origin.work / "tests/test_a.py").symlink_to("../src/one.py")
    world.origin.git("add", "tests/test_a.py")
    world.origin.commit()
    world.origin.push()
    record = world.judged(Command(argv=("cat", "tests/test_a.py")))
    assert record.changed_judges == ("src/one.py", "tests/test_a.py")


def test_no_filter_hook_or_link_of_the_commit_has_a_say(world: World, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    world.pushed(
        **{
            ".gitattributes": "* filter=evil\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {ran}\n',
        }
    )
    hook = shell(
        f"mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch {ran}' >.git/hooks/post-checkout;"
        f"chmod +x .git/hooks/*; git config filter.evil.smudge 'touch {ran}; cat';"
        f"git config filter.evil.clean 'touch {ran}; cat'; echo x >>README.md"
    )
    record = world.judged(hook, TRUE)
    assert (record.verdict, [one.exit_code for one in record.commands]) == ("pass", [0, 0])
    assert not ran.exists()


@pytest.mark.skipif(isolation.fault() is not None, reason=f"no bubblewrap: {isolation.fault()}")
def test_behind_the_boundary_a_command_sees_its_checkout_and_nothing_of_the_judge(
    world: World, tmp_path: Path
) -> None:
    world.runner = CommandRunner(
        ["true"], prompt="stdin", output="text", env={}, now=world.clock.now, scope="s",
        boundary=Boundary(isolation="bubblewrap", hidden=(tmp_path,)),
    )  # fmt: skip
    clone = tmp_path / "judge/clone.git"
    look = shell(
        "git log -1 --format=%H && git status --porcelain && test $(cat tests/test_a.py) = a"
        f" && test ! -e {clone}/config && test ! -e ../index && test ! -e {tmp_path}/work"
        f" && ! touch {clone}/objects/x && echo weaker >tests/test_a.py"
    )
    record = world.judged(look, look, CHANGED, protected=("tests/**",))
    assert [one.exit_code for one in record.commands] == [0, 0, 0], record.commands
    assert record.commands[0].output.startswith(str(record.commit))
    assert (record.verdict, record.shown) == ("pass", True)


# Leases, stops and kills.


def test_a_command_that_leaves_a_daemon_leaves_nothing(world: World) -> None:
    daemon = f"setsid sleep 60 & echo $! >>{world.place}/pids"
    assert world.judged(shell(daemon)).verdict == "pass"
    assert len(world.ready(2)) == 2
    assert world.running() == []


def test_a_host_that_is_stopped_gives_its_judgement_back(world: World) -> None:
    world.order(world.waits())
    with world.host():
        world.ready()
    assert world.running() == []
    assert world.told[-1] == "t1 attempt 1: not judged, the judge host stops"
    assert world.found() is None
    world.go()
    assert world.record(name="judge-2").host == "judge-2"


def test_a_host_that_lost_its_lease_stops_and_hands_nothing_in(world: World) -> None:
    world.order(world.waits())
    with world.host():
        world.ready()
        with world.host(name="judge-2"):
            # The first host may beat in between and keep its lease: then it lapses once more.
            until(lambda: world.holder() == "judge-2" or world.lapse())
            world.ready(2)
            # Its command may have been ended by the other one before it knew.
            until(lambda: any(one.endswith("another host has it") for one in world.told))
            until(lambda: len(world.running()) == 1)
            world.go()
            record = until(world.found)
    assert record.host == "judge-2"


def test_a_lease_is_kept_however_long_a_command_takes(world: World) -> None:
    world.order(world.waits())
    with world.host():
        world.ready()
        for _ in range(3):
            world.clock.ahead += timedelta(seconds=LEASE * 0.6)
            until(lambda: world.left() > LEASE * 0.9)
        assert world.kept.claim("judge-2", lease=LEASE, heavy=True) is None
        world.go()
        assert until(world.found).verdict == "pass"


def test_several_judgements_at_a_time_where_configured(world: World) -> None:
    for attempt in (1, 2, 3):
        world.order(world.waits(), attempt=attempt, key=str(attempt), base=None)
    with world.host(slots=2):
        world.ready(2)
        assert len(world.running()) == 2
        world.go()
        assert until(lambda: world.found(3)).verdict == "pass"


def test_a_heavy_judgement_waits_for_a_host_that_takes_it(world: World) -> None:
    world.order(TRUE.model_copy(update={"heavy": True}))
    world.order(TRUE, attempt=2, key="two")
    assert world.record(2).verdict == "pass"
    assert world.found() is None
    assert world.record(heavy=True).verdict == "pass"


class Fails:
    """Raises `fault` at the first `times` calls of `name`, and is the other thing otherwise."""

    def __init__(self, real: object, name: str, fault: Exception, times: int) -> None:
        self._real, self._name, self._fault, self.left = real, name, fault, times

    def __getattr__(self, name: str) -> object:
        if name == self._name and self.left:
            self.left -= 1
            raise self._fault
        return getattr(self._real, name)


@pytest.mark.parametrize(
    ("part", "name", "fault"),
    [
        pytest.param("checkouts", "find", WorktreeError("no route to host"), id="git"),
        pytest.param("runner", "check", SpawnError("cannot run"), id="spawn"),
    ],
)
def test_a_fault_of_the_machine_is_tried_again_with_growing_pauses(
    world: World, part: str, name: str, fault: Exception
) -> None:
    setattr(world, part, Fails(getattr(world, part), name, fault, 3))
    world.order(CHANGED)
    told = f"t1 attempt 1: cannot be judged now, again in {{}} s: {fault}"
    with world.host(pause=20.0):
        for seconds in (20, 40, 80):
            until(partial(world.told.__contains__, told.format(seconds)))
            world.clock.ahead += timedelta(seconds=seconds)
        assert until(world.found).verdict == "pass"


def test_what_cannot_be_judged_now_keeps_nobody_waiting(world: World) -> None:
    world.checkouts = Fails(world.checkouts, "find", WorktreeError("no route to host"), 1)
    world.order(TRUE, base=None)
    world.order(TRUE, base=None, attempt=2, key="two")
    with world.host(pause=60.0):
        assert until(lambda: world.found(2)).verdict == "pass"
        assert world.found(1) is None
        world.clock.ahead += timedelta(seconds=60)
        assert until(lambda: world.found(1)).verdict == "pass"


def test_orders_out_of_reach_are_ridden_out(world: World) -> None:
    world.kept = Fails(world.kept, "claim", QueueUnavailableError("away"), 3)
    world.order(TRUE)
    assert world.record().verdict == "pass"
    assert world.told.count("no judgements for now, the orders are out of reach: away") == 1


def test_a_record_that_cannot_be_handed_in_now_is_handed_in_later(world: World) -> None:
    world.kept = Fails(world.kept, "finish", QueueUnavailableError("away"), 3)
    assert world.judged(counting(world, "true"), base=None).verdict == "pass"
    assert runs(world) == 1
    assert world.told.count("t1 attempt 1: the orders are out of reach: away") == 1


@pytest.mark.parametrize("name", ["claim", "beat", "finish"])
def test_a_bug_stops_the_host_and_its_commands(world: World, name: str) -> None:
    world.order(world.waits() if name == "beat" else TRUE)
    real = world.kept
    world.kept = Fails(real, name, ZeroDivisionError("a bug"), 1)
    with pytest.raises(ZeroDivisionError), world.host():
        until(lambda: "a bug stops the judge host: ZeroDivisionError" in world.told)
    assert world.running() == []


def test_two_hosts_of_one_name_do_not_share_a_folder(world: World) -> None:
    with world.host():
        until(lambda: list((world.place / "judge").glob(".host-*")))
        with pytest.raises(LockHeldError, match="judge host named 'judge-1' is at work"):
            world.judge().run(threading.Event())


PROGRAM = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from agent.adapters.agents.command import CommandRunner
from agent.adapters.common.machine import SystemClock
from agent.adapters.git.checkouts import GitCheckouts
from agent.adapters.agents import isolation
from agent.adapters.agents.command import CommandRunner
from agent.adapters.queue.judgements import SqliteJudgements
from agent.backends import Boundary
from agent.runtime.judging import JudgeHost, JudgeSettings

place = Path(sys.argv[1])
clock = SystemClock()
runner = CommandRunner(
    ["true"], prompt="stdin", output="text", env={}, now=clock.now, scope=str(place)
)
settings = JudgeSettings(
    name=sys.argv[2], lease=30.0, beat_every=0.1, poll_every=0.02, grace=0.2, pause=4.0,
    folder=place / "judge",
)
with SqliteJudgements(place / "judgements.db", clock.now) as kept:
    JudgeHost(
        kept, GitCheckouts(sys.argv[3], place / "judge"), runner, clock, settings, print,
        lambda _, __: False,
    ).run(threading.Event())
"""


@pytest.mark.parametrize("name", ["judge-1", "judge-2"])
def test_a_host_that_is_killed_is_taken_over_and_nothing_of_it_is_left(
    world: World, tmp_path: Path, name: str
) -> None:
    """By the next host of its name at once, by others when its lease runs out."""
    with SqliteJudgements(tmp_path / "judgements.db", world.clock.now) as kept:
        world.kept = kept
        world.order(world.waits())
        argv = [sys.executable, "-c", PROGRAM, tmp_path, "judge-1", world.origin.bare]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as host:
            (first,) = world.ready()
            host.kill()
        assert world.running() == [first]
        assert len(list((tmp_path / "judge/checkouts").iterdir())) == 1
        if name == "judge-2":
            world.clock.ahead += timedelta(seconds=2 * LEASE)
        with world.host(name=name):
            second = world.ready(2)[1]
            assert world.running() == [second]
            world.go()
            assert until(world.found).host == name
        assert list((tmp_path / "judge/checkouts").iterdir()) == []


def test_a_remote_that_comes_back_is_judged(world: World) -> None:
    away = world.origin.bare.with_name("away")
    shutil.move(world.origin.bare, away)
    world.order(TRUE)
    with world.host(pause=0.01):
        until(lambda: any("cannot be judged now" in line for line in world.told))
        shutil.move(away, world.origin.bare)
        assert until(world.found).verdict == "pass"
