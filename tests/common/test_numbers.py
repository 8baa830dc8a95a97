"""Numbers in texts."""

import pytest

from frame.common.numbers import counted, unsigned_zero


@pytest.mark.parametrize(
    ("n", "text"), [(1, "1 run"), (0, "0 runs"), (2, "2 runs"), (1234, "1,234 runs"), (1.0, "1 run"), (1.5, "1.5 runs")]
)
def test_one_is_singular(n: float, text: str) -> None:
    assert counted(n, "runs") == text


@pytest.mark.parametrize(
    ("text", "shown"), [("-0", "0"), ("-0.00", "0.00"), ("+0.0", "0.0"), ("-0.01", "-0.01"), ("0", "0"), ("-10", "-10")]
)
def test_a_zero_has_no_sign(text: str, shown: str) -> None:
    assert unsigned_zero(text) == shown
