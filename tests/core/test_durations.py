import pytest

from agent.core.model.durations import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", 90.0, id="seconds"),
        pytest.param("10m", 600.0, id="minutes"),
        pytest.param("2h", 7200.0, id="hours"),
        pytest.param("0.25s", 0.25, id="less than a second"),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "value",
    ["", "90", "s", "0s", "0.0m", "-5s", "5 s", "5S", "5d", "1h30m", "٣s", 90, 1.5, None, ["5s"]],
    ids=repr,
)
def test_what_is_no_duration_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        seconds(value)
    assert "\n" not in str(caught.value)
