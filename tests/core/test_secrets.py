"""Secrets are removed, what only looks like one stays, and removing again changes nothing."""

import json
import time
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model.nouns import CommandResult, Evidence, JudgeRecord, ProofKind
from agent.core.model.secrets import SHAPES, Redactor, is_secret_name
from agent.core.model.text import visible
from tests.core.secret_samples import (
    HARMLESS,
    HEX,
    KEYS,
    LINES,
    LOT,
    PLACES,
    VALUE,
    basic,
    pem,
)

KNOWN = Redactor({"SHOP_TOKEN": VALUE, "SHORT": "abc", "PIN": "s3cret"})


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_removed_wherever_it_stands(name):
    mark = f"[removed: {name.partition(' ')[0]}]"
    for around in ("{}", "said {}, and", "x={};", "'{}'", "({})", "\n{}\n"):
        assert SHAPES.text(around.format(KEYS[name])) == around.format(mark)


@pytest.mark.parametrize("name", PLACES)
def test_what_stands_where_a_secret_stands_is_removed(name):
    text, secret = PLACES[name]
    shown = SHAPES.text(text.format(secret))
    assert secret not in shown
    before, _, after = text.format("\0").partition("\0")
    assert "[removed: " in shown
    assert shown.endswith(after.removeprefix(":"))
    # Of an address all that says who asks goes, too: either half may be the token.
    assert shown.startswith(before[: before.find("://") + 3] if "://" in before else before[:5])


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_secret_stays(name):
    assert KNOWN.text(HARMLESS[name]) == HARMLESS[name]
    assert KNOWN.text(f"seen: {HARMLESS[name]}; ok") == f"seen: {HARMLESS[name]}; ok"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(pem(), id="whole"),
        pytest.param(pem(""), id="of no kind"),
        pytest.param(pem("ENCRYPTED "), id="encrypted"),
        pytest.param(pem(line_end="\r\n"), id="Windows"),
        pytest.param(json.dumps(pem())[1:-1], id="in JSON"),
        pytest.param(pem(end=False), id="its end cut off"),
        pytest.param(pem(begin=False), id="its beginning cut off"),
        pytest.param(pem().replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), id="PGP"),
    ],
)
def test_a_private_key_goes_as_a_block(key):
    assert SHAPES.text(f"before:\n{key}\n\nAfter it.") == (
        "before:\n[removed: private-key]\n\nAfter it."
    )


FORMS = {
    "as it is": VALUE,
    "in an address": quote(VALUE, safe=""),
    "in JSON": json.dumps(f'"{VALUE}"'),
    "in hexadecimal": VALUE.encode().hex(),
    "with colours": f"{VALUE[:6]}\x1b[1;31m{VALUE[6:]}",
    "with a hidden character": f"{VALUE[:6]}\u200b{VALUE[6:]}",
    "made visible": visible(f"{VALUE[:6]}\x1b[31m\u202e{VALUE[6:]}"),
    "wrapped": f"{VALUE[:9]}\n    {VALUE[9:]}",
    "wrapped by Windows": f"{VALUE[:9]}\r\n{VALUE[9:]}",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_configured_value_is_removed_in_every_form(form):
    shown = KNOWN.text(f"a {FORMS[form]} b")
    assert "[removed: SHOP_TOKEN]" in shown
    assert (shown[:2], shown[-2:]) == ("a ", " b")


@pytest.mark.parametrize("user", ["", "a", "ann", "x-access-token"])
def test_a_configured_value_is_found_inside_base64(user):
    coded = basic(f"{user}:{VALUE}")
    shown = KNOWN.text(f"sent {coded}")
    assert "[removed: SHOP_TOKEN]" in shown
    assert len(shown) < len("sent [removed: SHOP_TOKEN]") + len(basic(f"{user}:")) + 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("pin s3cret.", "pin [removed: PIN].", id="a word of its own"),
        pytest.param("as3cret s3crets _s3cret", "as3cret s3crets _s3cret", id="part of a word"),
        pytest.param("abc", "abc", id="too short to be told from a word"),
    ],
)
def test_a_short_value_counts_only_as_a_word(text, shown):
    assert KNOWN.text(text) == shown


@pytest.mark.parametrize("gap", ["\x1b[0m", "\u200b", "\x1b]8;;x\x07", "\u00ad"])
def test_a_key_is_found_through_what_nobody_sees(gap):
    key = KEYS["github-token"]
    assert SHAPES.text(f"a {key[:9]}{gap}{key[9:]} b") == "a [removed: github-token] b"


def test_a_key_that_was_wrapped_early_is_removed_whole():
    key = KEYS["github-token"]
    assert key[12:] not in SHAPES.text(f"{key[:12]}\n{key[12:]} b")


def test_a_key_at_the_end_of_a_line_takes_no_word_of_the_next():
    key = KEYS["github-token"]
    assert SHAPES.text(f"was {key}\nNext line") == "was [removed: github-token]\nNext line"


def test_the_most_telling_name_is_given():
    text = f"https://x-access-token:{KEYS['github-token']}@git.example/x"
    assert SHAPES.text(text) == "https://[removed: github-token]@git.example/x"


@dataclass(frozen=True)
class Pair:
    one: str
    two: tuple[str, ...]


def test_every_text_of_a_value_is_cleaned_and_nothing_else():
    judge = JudgeRecord(
        verdict="fail",
        at="2026-01-01T00:00:00Z",
        commit=HEX[:40],
        commands=(CommandResult(argv=("env", VALUE), output=f"x {VALUE}"),),
    )
    cleaned = KNOWN.all(judge)
    assert cleaned.commands[0].output == "x [removed: SHOP_TOKEN]"
    # Compared with what a person ordered, so it stays as it is.
    assert cleaned.commands[0].argv == ("env", VALUE)
    assert (cleaned.commit, cleaned.at, cleaned.verdict) == (judge.commit, judge.at, "fail")
    assert KNOWN.all(Pair(VALUE, (VALUE, "b"))) == Pair(
        "[removed: SHOP_TOKEN]", ("[removed: SHOP_TOKEN]", "b")
    )
    body = {"a": [VALUE, 1, None, True], "b": {"c": VALUE}}
    mark = "[removed: SHOP_TOKEN]"
    assert KNOWN.all(body) == {"a": [mark, 1, None, True], "b": {"c": mark}}


def test_what_holds_no_secret_is_the_very_same_value():
    item = Evidence(id="e", kind=ProofKind.COMMIT_PUSHED, origin="observed", value=HEX[:40])
    assert KNOWN.all(item) is item


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("GITHUB_TOKEN", "DB_PASSWORD", "STRIPE_API_KEY",
                                    "client_secret", "AWS_SECRET_ACCESS_KEY", "DB_PASS",
                                    "PASS", "SIGNING_KEY",
                                    "NPM_PAT", "CREDENTIALS")),
        *((name, False) for name in ("PATH", "HOME", "LANG", "KEYBOARD", "MAX_TOKENS_FILE",
                                     "COMPASS", "TOKENIZERS_PARALLELISM", "PWD")),
    ],
)  # fmt: skip
def test_a_name_says_whether_a_variable_holds_a_secret(name, secret):
    assert is_secret_name(name) is secret


PIECES = st.one_of(
    st.sampled_from(
        [*KEYS.values(), *HARMLESS.values(), *(a.format(b) for a, b in PLACES.values()),
         *FORMS.values(), pem(), pem(begin=False), pem(end=False), "gh" + "p_", "://", ":", "@",
         "=", "?token=", "TOKEN=", "[removed: ", "]", " ", "\n", "\x1b[0m", "Authorization: Basic "]
    ),
    st.text(max_size=8),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_removing_again_changes_nothing_and_no_text_grows_without_bound(text):
    once = KNOWN.text(text)
    assert KNOWN.text(once) == once
    assert VALUE not in once
    assert len(once) <= 12 * len(text) + 40


LONG = 30_000
WORST = {
    "prefixes of tokens": "eyJ" * LONG,
    "lines of a key": (LOT[:64] + "\n") * (LONG // 20) + "-----END PRIVATE KEY-----",
    "beginnings of keys": "-----BEGIN PRIVATE KEY-----" * (LONG // 10),
    "addresses": "://a:" * LONG,
    "users": "https://" + "a:@" * LONG,
    "names of variables": "A_" * LONG + "TOKEN",
    "names with dashes": "a-" * LONG + "token",
    "queries": "?token=" * (LONG // 2),
    "calls of curl": "curl -u " * (LONG // 2),
    "headers": "authorization: bearer " * (LONG // 8),
    "encoded": "%3A%2F%2F" * (LONG // 3),
    "one long line": "a" * (LONG * 4) + " token -us1 dp.pt. SK",
    "terminal sequences": "\x1b[" * LONG,
    "empty lines": "\n" * (LONG * 4),
    "blanks": "password" + " " * (LONG * 4) + "=",
}


@pytest.mark.parametrize("name", WORST)
def test_the_time_grows_with_the_length_and_no_faster(name):
    started = time.process_time()
    KNOWN.text(WORST[name])
    # A quarter of a second was seen; what is quadratic takes minutes.
    assert time.process_time() - started < 5


def test_no_line_of_a_key_is_left():
    assert not set(LINES.split("\n")) & set(SHAPES.text(pem()).split("\n"))
