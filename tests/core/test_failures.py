import time
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.assess import failures
from agent.core.assess.failures import Failure
from agent.core.model.nouns import CommandResult, FailureClass
from agent.core.model.policy import FailuresPolicy
from tests.core import worlds as w


def why(text: str) -> Failure:
    """The reason of a failed attempt that printed this, judged by an acceptance command."""
    found = failures.assess(w.ended(judge=w.judged("fail", text)), w.policy().failures)
    assert found is not None
    return found


PYTHON_SUBPROCESS = """\
  File "/usr/lib/python3.11/subprocess.py", line 1955, in _execute_child
    raise child_exception_type(errno_num, err_msg, err_filename)
FileNotFoundError: [Errno 2] No such file or directory: 'jq'"""
PYTEST_SUBPROCESS = """\
E       FileNotFoundError: [Errno 2] No such file or directory: 'jq'

/usr/lib/python3.11/subprocess.py:1955: FileNotFoundError"""
CODEX_LIMIT = """\
{"error":{"type":"usage_limit","plan_type":"plus","resets_at":1768950240,"resets_in_seconds":13486}}
ERROR: You've hit your usage limit. Upgrade to Pro or try again at 11:04 PM."""
GH_LOGIN = """\
To get started with GitHub CLI, please run:  gh auth login
Alternatively, populate the GH_TOKEN environment variable with a GitHub API authentication token."""

TOOLS = [
    pytest.param("jq: command not found", "jq", id="the runner's own words"),
    pytest.param("assert it\nbash: line 1: jq: command not found\n", "jq", id="bash -c"),
    pytest.param("./check.sh: line 12: jq: command not found", "jq", id="a bash script"),
    pytest.param("sudo: docker: command not found", "docker", id="sudo"),
    pytest.param("npm error sh: 1: tsc: not found", "tsc", id="npm's shell"),
    pytest.param("/bin/sh: 1: jq: not found", "jq", id="dash"),
    pytest.param("./check: 3: jq: not found\n1 failed", "jq", id="a dash script"),
    pytest.param("/bin/sh: clang-format-15: not found", "clang-format-15", id="busybox"),
    pytest.param("zsh:1: command not found: jq", "jq", id="zsh"),
    pytest.param("Command not found: pytest", "pytest", id="poetry"),
    pytest.param("fish: Unknown command: jq", "jq", id="fish"),
    pytest.param("make: jq: No such file or directory\nmake: *** [Makefile:2: a] Error 127", "jq",
                 id="make"),
    pytest.param("make[1]: jq: Command not found", "jq", id="an older make"),
    pytest.param('exec: "protoc": executable file not found in $PATH', "protoc", id="go"),
    pytest.param("/usr/bin/env: \u2018node\u2019: No such file or directory", "node", id="env"),
    pytest.param("env: node: No such file or directory", "node", id="env on another system"),
    pytest.param("timeout: failed to run command \u2018g++\u2019: No such file or directory", "g++",
                 id="timeout"),
    pytest.param("Error: spawn jq ENOENT\n    at ChildProcess", "jq", id="node"),
    pytest.param(f"Traceback:\n{PYTHON_SUBPROCESS}", "jq", id="python's subprocess"),
    pytest.param(PYTEST_SUBPROCESS, "jq", id="python's subprocess under pytest"),
]  # fmt: skip

OTHERS = [
    pytest.param("Incorrect API key provided: sk-1.", "missing-credential", id="openai key"),
    pytest.param("Invalid API key · Please run /login", "missing-credential", id="claude key"),
    pytest.param('{"type":"authentication_error"}', "missing-credential", id="anthropic key"),
    pytest.param("git@github.com: Permission denied (publickey).", "missing-credential", id="ssh"),
    pytest.param("fatal: could not read Username for 'https://github.com': terminal prompts "
                 "disabled", "missing-credential", id="git over https"),
    pytest.param("fatal: Authentication failed for 'https://github.com/a/b'", "missing-credential",
                 id="git's password"),
    pytest.param(GH_LOGIN, "missing-credential", id="gh"),
    pytest.param("'code': 'insufficient_quota'", "quota", id="openai quota"),
    pytest.param("Quota exceeded. Check your plan and billing details.", "quota", id="codex quota"),
    pytest.param(CODEX_LIMIT, "quota", id="codex usage limit"),
    pytest.param("Claude AI usage limit reached|1768950240", "quota", id="claude usage limit"),
    pytest.param("anthropic.RateLimitError: Error code: 429 - {'message': 'Too many tokens'}",
                 "rate-limit", id="anthropic's library"),
    pytest.param("exceeded retry limit, last status: 429 Too Many Requests", "rate-limit",
                 id="codex throttled"),
    pytest.param("API Error: Request rejected (429)", "rate-limit", id="claude throttled"),
    pytest.param('API Error: 529 {"type":"overloaded_error"}', "rate-limit", id="overloaded"),
    pytest.param("ThrottlingException: Too many requests", "rate-limit", id="bedrock"),
    pytest.param("ENOMEM: fork: Cannot allocate memory", "out-of-memory", id="fork"),
    pytest.param("Out of memory: Killed process 4242 (node)", "out-of-memory", id="the kernel"),
    pytest.param("OSError: [Errno 28] No space left on device", "disk-full", id="disk"),
    pytest.param("write: Disk quota exceeded", "disk-full", id="disk quota is no provider's quota"),
    pytest.param("fatal: unable to access 'https://github.com/a/b/': Could not resolve host: "
                 "github.com", "name-resolution", id="name service"),
    pytest.param("ssh: connect to host github.com port 22: Connection timed out", "control-plane",
                 id="ssh timed out"),
    pytest.param("dial tcp 10.0.0.7:443: connect: connection refused", "control-plane", id="go"),
]  # fmt: skip

HEALTH = [
    pytest.param('Health check for container 4f1 error: OCI runtime exec failed: exec failed: '
                 'unable to start container process: exec: "curl": executable file not found',
                 "curl", id="docker"),
    pytest.param("healthcheck: /bin/sh: 1: wget: not found", "wget", id="a shell in the image"),
    pytest.param('Liveness probe errored: rpc error: exec: "grpc_health_probe": executable '
                 "file not found in $PATH", "grpc_health_probe", id="kubernetes"),
    pytest.param("Readiness probe failed: stat /app/ready: no such file or directory",
                 "/app/ready", id="a file that is gone"),
]  # fmt: skip

OWN = [
    "E   AssertionError: Health check: curl: not found",
    "health check failed: GET /healthz: 503",
    "Error: deployment failed: progress deadline exceeded",
    "AssertionError: user not found",
    "E       AssertionError: assert 'user: not found' == 'ok'",
    "E   AssertionError: assert 'git: command not found' in ''",
    "GET /users/7: 404 not found",
    "urllib.error.HTTPError: HTTP Error 404: Not Found",
    "npm error 404 Not Found - GET https://registry.npmjs.org/nope",
    "ModuleNotFoundError: No module named 'x'",
    "ERROR: not found: /w/tests/test_a.py::test_b (no name '/w/tests/test_a.py::test_b')",
    "remote: Repository not found.",
    "store_test.go:12: get user: not found",
    "src/store.py:31: KeyError: user: not found",
    "Error: Command not found: frobnicate",
    "Error: command not found",
    "cat: config.json: No such file or directory",
    "make: rules.mk: No such file or directory\nmake: *** No rule to make target 'all'.  Stop.",
    "/usr/bin/env: \u2018python3\\r\u2019: No such file or directory",
    "FileNotFoundError: [Errno 2] No such file or directory: 'fixtures'",
    "bash: ./run.sh: Permission denied",
    "E       assert response.status_code == 429",
    "Expected status code 429, got 200",
    "HTTPError: 429 Client Error: Too Many Requests for url: http://localhost:8000/login",
    'Expected: "ok"\nReceived: "Invalid API key"',
    'auth_test.go:31: got "invalid api key", want nil',
    "ConnectionRefusedError: [Errno 111] Connection refused",
    "curl: (7) Failed to connect to localhost port 8080 after 0 ms: Connection refused",
    "dial tcp 127.0.0.1:5432: connect: connection refused",
    "dial tcp [::1]:5432: connect: connection refused",
    "FAILED tests/test_limits.py::test_the_usage_limit - AssertionError: usage limit reached",
    "E   OSError: [Errno 28] No space left on device",
    "Interrupted: 1 error during collection",
    "!!!!!!! Interrupted: 1 error during collection !!!!!!!",
    "see: the worker host was stopped",
    "3 failed, 12 passed in 1.20s",
    "",
]  # fmt: skip


@pytest.mark.parametrize(("text", "tool"), TOOLS)
def test_a_missing_tool_is_found_by_its_name(text, tool):
    found = why(text)
    assert (found.reason, found.subject) == ("missing-tool", tool)
    assert found.fingerprint == failures.fingerprint_of("missing-tool", tool)
    assert found.infrastructure
    assert not found.charged
    assert found.excerpt in text.splitlines()
    assert tool in found.excerpt


@pytest.mark.parametrize(("text", "reason"), OTHERS)
def test_infrastructure_is_told_from_realistic_output(text, reason):
    found = why(text)
    assert found.reason == reason
    assert found.infrastructure
    assert not found.charged


@pytest.mark.parametrize(("text", "asked_for"), HEALTH)
def test_a_health_check_that_no_longer_fits_its_image(text, asked_for):
    found = why(text)
    assert (found.reason, found.subject) == ("healthcheck-mismatch", asked_for)
    assert not found.charged


DEPLOYED = (w.seen("live-health"), w.seen("live-version"))


@pytest.mark.parametrize(
    ("text", "evidence", "reason"),
    [
        pytest.param("deploy job failed: exit status 1", DEPLOYED, "deploy-misreported", id="job"),
        pytest.param('error: deployment "a" exceeded its progress deadline', DEPLOYED,
                     "deploy-misreported", id="kubectl"),
        pytest.param("rollout of a timed out", DEPLOYED, "deploy-misreported", id="rollout"),
        pytest.param("deploy job failed", (), "task-fault", id="nobody looked at the service"),
        pytest.param("deploy job failed", DEPLOYED[:1], "task-fault", id="healthy, but what runs?"),
        pytest.param("deploy job failed", (DEPLOYED[0], w.seen("live-version", holds=False)),
                     "task-fault", id="another version runs"),
        pytest.param("deploy job failed", (DEPLOYED[0], w.seen("live-version", holds=None)),
                     "task-fault", id="unknown what runs"),
        pytest.param("deploy job failed", (w.seen("live-health", origin="claimed"), DEPLOYED[1]),
                     "task-fault", id="only the worker says it is healthy"),
        pytest.param("deploy job failed", (w.seen("live-health", observed_at=w.ago(700)),
                     DEPLOYED[1]), "task-fault", id="it was healthy before"),
    ],
)  # fmt: skip
def test_a_deploy_is_misreported_only_when_the_service_was_seen_to_run(text, evidence, reason):
    task = w.ended(judge=w.judged("fail", text), evidence=evidence)
    found = failures.assess(task, w.policy().failures)
    assert found is not None
    assert found.reason == reason


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        pytest.param({}, "truncated-session", id="failed"),
        pytest.param({"status": "succeeded"}, "truncated-session", id="succeeded without a judge"),
        pytest.param({"judge": w.judged("fail", "1 failed")}, "truncated-session", id="judged bad"),
        pytest.param(
            {"judge": w.judged("pass"), "status": "succeeded"},
            "task-fault",
            id="the judge has seen it pass",
        ),
        pytest.param(
            {"last_error": "sh: 1: jq: not found"},
            "missing-tool",
            id="what was seen to fail comes first",
        ),
    ],
)
def test_a_session_whose_end_was_cut_off_starts_afresh(over, reason):
    task = w.ended(final_response_truncated=True, **over)
    found = failures.assess(task, w.policy().failures)
    assert found is not None
    assert found.reason == reason
    assert (found.rule == "fresh-session") == (reason == "truncated-session")


def texts() -> list[str]:
    """Everything that the tables of this file let a command print."""
    tables = (*TOOLS, *OTHERS, *HEALTH)
    return [*(str(row.values[0]) for row in tables), *OWN]


def without_words() -> FailuresPolicy:
    known = w.policy().failures
    plain = [reason.model_copy(update={"words": ()}) for reason in known.reason]
    return known.model_copy(update={"reason": tuple(plain)})


def test_skipping_a_text_without_the_words_changes_no_answer():
    tasks = [w.ended(judge=w.judged("fail", text), evidence=DEPLOYED) for text in texts()]
    for name in ("infra_blocked", "infra_hard_negatives", "acceptance_aider"):
        for row in w.beside(name):
            tasks.append(w.ended(last_error=row.get("text") or row["final_response"]))  # noqa: PERF401
    quick = [failures.assess(task, w.policy().failures) for task in tasks]
    assert quick == [failures.assess(task, without_words()) for task in tasks]


def test_every_shared_cause_says_what_must_hold_in_the_long_run():
    for reason in w.policy().failures.reason:
        assert (reason.contract is not None) == (reason.rule == "split"), reason.id


@pytest.mark.parametrize("text", OWN)
def test_a_near_miss_is_the_tasks_own_fault(text):
    found = why(text)
    assert (found.reason, found.charged, found.fingerprint) == ("task-fault", True, None)


@pytest.mark.parametrize(
    ("text", "reason", "rule", "charged"),
    [
        pytest.param("the worker host was stopped", "unknown", "same-session", True,
                     id="what only sounds like the worker host"),
        pytest.param("interrupted: silent for 1300 s", "interrupted", "fresh-session", False,
                     id="interrupted by the supervisor"),
        pytest.param("No conversation found with session ID: 5e1f", "poisoned-session",
                     "fresh-session", True, id="session gone"),
        pytest.param("API Error: prompt is too long: 201000 tokens", "poisoned-session",
                     "fresh-session", True, id="session full"),
        pytest.param("the agent's end was not seen", "poisoned-session", "fresh-session", True,
                     id="end not seen"),
        pytest.param("exit code 1, and no output", "unknown", "same-session", True, id="unknown"),
        pytest.param(None, "unknown", "same-session", True, id="nothing said"),
    ],
)  # fmt: skip
def test_the_runners_last_error_names_the_reason(text, reason, rule, charged):
    found = failures.assess(w.ended(last_error=text), w.policy().failures)
    assert found is not None
    assert (found.reason, found.rule, found.charged) == (reason, rule, charged)


CLASSES = {
    # class: reason, rule, whether it is charged and whether it is infrastructure
    "rate-limit": ("rate-limit", "wait", False, True),
    "overloaded": ("rate-limit", "wait", False, True),
    "quota": ("quota", "wait", False, True),
    "server": ("provider-fault", "wait", False, True),
    "network": ("provider-fault", "wait", False, True),
    "malformed": ("provider-fault", "wait", False, True),
    "auth": ("missing-credential", "split", False, True),
    "spawn-failed": ("agent-not-started", "wait", False, True),
    "out-of-memory": ("out-of-memory", "split", False, True),
    "host-stopped": ("host-stopped", "same-session", False, True),
    "lease-lost": ("lost", "same-session", False, True),
    "out-of-reach": ("queue-out-of-reach", "same-session", False, True),
    "context-overflow": ("poisoned-session", "fresh-session", True, False),
    "killed": ("killed", "same-session", True, False),
    "time-limit": ("time-limit", "same-session", True, False),
    "stalled": ("stalled", "same-session", False, True),
    "denied": ("denied", "same-session", True, False),
    "none": ("unknown", "same-session", True, False),
    "unknown": ("unknown", "same-session", True, False),
}


@pytest.mark.parametrize("class_", get_args(FailureClass))
def test_a_typed_failure_has_its_reason_whatever_the_texts_say(class_):
    said = {"last_error": "the agent complained", "final_response": w.JQ_MISSING}
    found = failures.assess(w.ended(failure=w.typed(class_), **said), w.policy().failures)
    assert found is not None
    assert (found.reason, found.rule, found.charged, found.infrastructure) == CLASSES[class_]
    assert (found.retry_at is not None) == (found.rule == "wait")


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        pytest.param({"failure": w.typed("quota"), "last_error": w.JQ_MISSING}, "quota",
                     id="a class comes before the last error"),
        pytest.param({"failure": w.typed("quota"), "judge": w.judged("fail", "1 failed")}, "quota",
                     id="a class comes before a judge's no"),
        pytest.param({"failure": w.typed("unknown"), "last_error": w.JQ_MISSING}, "missing-tool",
                     id="where nothing is typed the text is searched"),
        pytest.param({"failure": w.typed("none"), "judge": w.judged("fail", w.JQ_MISSING)},
                     "missing-tool", id="where nothing is typed the judge speaks"),
        pytest.param({"status": "succeeded", "failure": w.typed("denied")}, "denied",
                     id="tools were denied, and nothing is proven"),
        pytest.param({"status": "succeeded", "failure": w.typed("denied"),
                      "judge": w.judged("fail", "1 failed")}, "task-fault",
                     id="tools were denied, and a check failed"),
        pytest.param({"status": "lost", "failure": w.typed("quota")}, "lost",
                     id="the queue's own word comes first"),
        pytest.param({"status": "running", "failure": w.typed("quota")}, None, id="not over"),
    ],
)  # fmt: skip
def test_where_a_class_stands_among_the_other_signs(over, reason):
    task = w.ended(**{"status": "failed", **over})
    found = failures.assess(task, w.policy().failures)
    assert (found and found.reason) == reason


@pytest.mark.parametrize(
    ("after", "typed", "text"),
    [
        pytest.param(5 * 3600, 5 * 3600, 5 * 3600, id="as the provider says"),
        pytest.param(7 * 86_400, 7 * 86_400, 900, id="a week"),
        pytest.param(-60, -60, -60, id="it is over already"),
        pytest.param(9 * 86_400, 900, 900, id="too far away to be believed"),
        pytest.param(7 * 365 * 86_400, 900, 900, id="in years"),
        pytest.param(None, 900, 900, id="not said"),
    ],
)
@pytest.mark.parametrize("how", ["typed", "text"])
def test_a_wait_ends_with_the_limit_and_is_bounded(how, after, typed, text):
    end = w.NOW - timedelta(seconds=100)
    at = None if after is None else end + timedelta(seconds=after)
    over = {"failure": w.typed("quota", at)}
    if how == "text":
        said = "" if at is None else f", resets_at: {int(at.timestamp())}"
        over = {"last_error": f"usage limit reached{said}"}
    found = failures.assess(w.ended(finished_at=end, **over), w.policy().failures)
    assert found is not None
    assert found.retry_at == end + timedelta(seconds=typed if how == "typed" else text)


@pytest.mark.parametrize("over", [
    {"failure": w.typed("quota", w.ago(-9e8))},
    {"last_error": "usage limit reached, resets_at: 1999999999"},
])  # fmt: skip
def test_no_reset_time_is_believed_where_nothing_bounds_it(over):
    found = failures.assess(w.ended(finished_at=None, **over), w.policy().failures)
    assert found.retry_at is None


FREED = [
    pytest.param({"last_error": "rate_limit_exceeded"}, "rate-limit", id="a wait"),
    pytest.param({"last_error": "sh: gh: command not found"}, "missing-tool", id="a shared cause"),
]


@pytest.mark.parametrize(("freed", "heard"), [(None, True), (2, True), (3, False), (9, False)])
@pytest.mark.parametrize(("over", "reason"), FREED)
def test_what_was_only_printed_sets_a_task_free_a_few_times(over, reason, freed, heard):
    task = w.ended(status="failed", freed={} if freed is None else {"text": freed}, **over)
    found = failures.assess(task, w.policy().failures)
    assert (found.reason, found.charged) == ((reason, False) if heard else ("task-fault", True))
    assert found.suspected is heard
    assert (reason in found.why and str(freed) in found.why) is not heard


def test_an_agent_that_stalls_again_is_a_persons():
    policy, typed = w.policy().failures, w.typed("stalled")
    first = failures.assess(w.ended(status="failed", failure=typed), policy)
    assert (first.rule, first.charged, first.freed_by) == ("same-session", False, "stalled")
    again = failures.assess(w.ended(status="failed", failure=typed, freed={"stalled": 1}), policy)
    assert (again.rule, again.charged, again.freed_by) == ("hand-over", True, None)
    assert (
        again.why
        == "The agent did nothing for too long, and was stopped. It has happened 1 time before."
    )


def test_what_was_typed_is_no_suspicion():
    task = w.ended(status="failed", freed={"text": 9}, failure=w.typed("rate-limit"))
    found = failures.assess(task, w.policy().failures)
    assert (found.reason, found.charged, found.suspected) == ("rate-limit", False, False)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param({"classes": ("quota", "quota")}, "'quota'", id="twice"),
        pytest.param({"classes": ()}, "'quota'", id="nowhere"),
        pytest.param({"classes": ("quota", "none")}, "'none'", id="the class that says nothing"),
    ],
)
def test_every_class_has_exactly_one_reason(row, said):
    known = w.policy().failures
    rows = [one.model_copy(update=row) if one.id == "quota" else one for one in known.reason]
    with pytest.raises(ValueError, match=said):
        FailuresPolicy.model_validate({**known.model_dump(), "reason": rows})


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        pytest.param(w.ended("lost"), "lost", id="lost"),
        pytest.param(w.ended("succeeded"), "task-fault", id="succeeded without proof"),
        pytest.param(w.parked(), "missing-tool", id="parked tasks keep their reason"),
        pytest.param(w.ended("succeeded", last_error=w.JQ_MISSING), "task-fault",
                     id="what a good end printed last is no error"),
        pytest.param(w.ended("succeeded", judge=w.judged("pass", w.JQ_MISSING)), "task-fault",
                     id="a judge that said pass is not searched"),
        pytest.param(w.ended(final_response=w.JQ_MISSING), "unknown",
                     id="a worker's own words are not searched"),
        *(pytest.param(w.task(status), None, id=status)
          for status in ("planned", "queued", "cancelled", "accepted", "replaced", "handed-over")),
        pytest.param(w.running(last_error=w.JQ_MISSING), None, id="running"),
    ],
)  # fmt: skip
def test_what_is_searched_depends_on_the_status(task, reason):
    found = failures.assess(task, w.policy().failures)
    assert (found and found.reason) == reason


def test_the_judge_speaks_before_the_runner():
    both = w.without_jq(last_error="sh: 1: gh: not found")
    found = failures.assess(both, w.policy().failures)
    assert found is not None
    assert found.subject == "jq"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("/opt/a/check-1.sh: line 3: jq: command not found",
                     "/srv/b2/check-9.sh: line 77: jq: command not found", id="paths and lines"),
        pytest.param("2026-11-22T10:00:00Z bash: jq: command not found",
                     "2026-11-23 11:22:33,123 bash: jq: command not found", id="times"),
        pytest.param("task 6c84fb90-12c4-11e1-840d-7b25c5ee775a bash: jq: command not found",
                     "task f81d4fae-7dec-11d0-a765-00a0c91e6bf6 bash: jq: command not found",
                     id="ids"),
        pytest.param("sh: 1: jq: not found", "zsh: command not found: jq", id="two shells"),
        pytest.param("fatal: No space left on device", "cp: error writing '/a': no space left on "
                     "device", id="two programs and one disk"),
    ],
)  # fmt: skip
def test_one_cause_has_one_fingerprint(one, other):
    assert why(one).fingerprint == why(other).fingerprint is not None


@settings(max_examples=50)
@given(st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True))
def test_two_tools_have_two_fingerprints(tool):
    other = f"{tool}x"
    assert (
        why(f"sh: 1: {tool}: not found").fingerprint
        != why(f"sh: 1: {other}: not found").fingerprint
    )


@settings(max_examples=50)
@given(
    st.text(max_size=40),
    st.from_regex(r"/[a-z]{1,8}/[a-z]{1,8}", fullmatch=True),
    st.integers(0, 10**6 - 1),
    st.uuids(),
    st.datetimes(),
)
def test_a_fingerprint_forgets_what_differs_every_time(words, path, number, name, at):
    def fingerprint(*parts: object) -> str:
        return failures.fingerprint_of("any", " | ".join(map(str, parts)))

    same = fingerprint(words, "/a/b", 1, "00000000-0000-4000-8000-000000000000", datetime.min)  # noqa: DTZ901 - only text
    assert fingerprint(words, path, number, name, at.replace(microsecond=0)) == same


def test_only_shared_causes_have_a_fingerprint():
    reasons = [why("sh: 1: jq: not found"), why("rate_limit_error"), why("1 failed")]
    assert [one.fingerprint is not None for one in reasons] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "until"),
    [
        pytest.param(CODEX_LIMIT, datetime.fromtimestamp(1768950240, UTC), id="a moment"),
        pytest.param("429 Too Many Requests, Retry-After: 75", w.ago(30) + timedelta(seconds=75),
                     id="seconds from the end of the attempt"),
        pytest.param("rate_limit_error", w.ago(30) + timedelta(seconds=900), id="the default"),
    ],
)  # fmt: skip
def test_a_providers_limit_says_until_when(text, until):
    assert why(text).retry_at == until


def test_the_same_failure_is_known_again():
    def same(output: str) -> bool:
        result = CommandResult(argv=("./check",), exit_code=1, output=output)
        return failures.same_failure(result, w.JQ, w.policy().failures)

    assert same("bash: line 9: jq: command not found")
    assert not same("bash: line 9: gh: command not found")
    assert not same("1 failed")


def test_only_the_end_of_an_endless_output_is_searched():
    assert why("sh: 1: jq: not found\n" + "x" * failures.SEARCHED).reason == "task-fault"
    assert why("x" * 10**6 + "\nsh: 1: jq: not found").reason == "missing-tool"


@pytest.mark.parametrize(
    "piece",
    ["a", "/", "a/", " ", "\n", ": ", "got ", "connect to ", "sh: 1: a", "err_msg, err_filename)\n",
     "FileNotFoundError: 'a'\n\n", "please run ", "GH_TOKEN ", "1 "],
)  # fmt: skip
def test_no_output_makes_the_search_slow(piece):
    text = (piece * failures.SEARCHED)[: failures.SEARCHED]
    began = time.process_time()
    why(text)
    assert time.process_time() - began < 3.0


SHAPELESS = (
    "`EVIL`", "**EVIL**", "@EVIL", "#12", "<b>EVIL", "[EVIL](x)", "{{7*7}}", "EVIL|x", "~~EVIL~~",
    "https://evil.example", "EVIL\u202e", "\u0415VIL", "EVIL\x1b[2J", "[removed: github-token]",
)  # fmt: skip


@pytest.mark.parametrize("words", SHAPELESS)
def test_what_names_a_cause_has_a_strict_shape(words):
    """Two attempts that print different things in its place have the same cause."""
    found = why(f"GH_TOKEN {words} not set")
    assert (found.reason, found.subject) == ("missing-credential", None)
    assert found.fingerprint == "missing-credential:unnamed"
    result = CommandResult(argv=("x",), exit_code=1, output="GH_TOKEN !other! not set")
    assert failures.same_failure(result, found.fingerprint, w.policy().failures)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        pytest.param("GH_TOKEN is not set", "GH_TOKEN is not set", id="a phrase"),
        pytest.param("bash: g++-12: command not found", "g++-12", id="a name"),
        pytest.param(f"bash: {'j' * 64}: command not found", "j" * 64, id="the longest name"),
        pytest.param(f"bash: {'j' * 65}: command not found", None, id="a name too long"),
        pytest.param("bash: j\u00f6b: command not found", None, id="a name beyond ASCII"),
    ],
)
def test_a_name_becomes_an_argument_and_a_phrase_a_title(text, subject):
    assert why(text).subject == subject
