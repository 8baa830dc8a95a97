"""What a table says on how its numbers were measured."""

from typing import Any

import pytest

from frame.analysis.protocols import one_protocol, said
from frame.common.errors import UserError
from tests.analysis.by_hand import record


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (["", ""], "test, 300 samples, last checkpoint: one"),
        (["average", "average"], "test, 300 samples, last checkpoint, average weights: one"),
        (["raw"], "test, 300 samples, last checkpoint, raw weights: one"),
        (["", "average"], "test, 300 samples, last checkpoint, average weights where a run keeps them: one"),
    ],
)
def test_weights_are_named_only_where_there_is_a_choice(weights: list[str], words: str) -> None:
    records: list[dict[str, Any]] = [record("a", 1.0, weights=one, estimator="one") for one in weights]
    assert said(one_protocol("a", records), []) == words


def test_average_and_raw_weights_are_two_ways() -> None:
    with pytest.raises(UserError, match="several ways.*weights average .1 run. and weights raw"):
        one_protocol("a", [record("a", 1.0, weights=one) for one in ("average", "raw")])
