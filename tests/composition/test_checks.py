"""Whether plain values fit the types of arguments."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from torch import nn

from frame.common.errors import UserError
from frame.composition.checks import check_node, fits

NODE = {"_target_": "torch.nn.Identity"}
Augmentations = Mapping[str, nn.Module | None]


@pytest.mark.parametrize(
    "value, hint, expected",
    [
        ({}, Augmentations, True),
        ({"a": NODE, "b": None}, Augmentations | None, True),
        ({"a": NODE, "b": 7}, Augmentations, False),
        ({"a": {"b": 1}}, dict[str, dict[str, int]], True),
        ({"a": {"b": "c"}}, dict[str, dict[str, int]], False),
        ({"a": "b"}, Mapping[str, Any], True),
        ({"a": 1}, Mapping, True),
        ({"a": 1}, dict, True),
        ({"a": 1}, object, True),
        ({"a": 1}, Iterable[str], True),
        ({"a": 1}, Callable[[int], str], True),
        ({"a": 1}, Sequence[int], False),
        ({"a": 1}, list[int], False),
        ({"a": 1}, int | None, False),
        ({"a": 1}, str, False),
        (10, int, True),
        (10, float, True),
        (10.0, int, False),
        (True, int, False),
    ],
)
def test_a_value_fits_a_type(value: Any, hint: Any, expected: bool) -> None:
    assert fits(value, hint) == expected


def test_a_wrong_entry_of_a_mapping_is_named() -> None:
    node = {"_target_": "frame.data.views.Views", "data": None, "augmentations": {"a": NODE, "b": 7}}
    with pytest.raises(UserError, match="^data.augmentations.b=7: data.augmentations.b wants Module or null$"):
        check_node(node, "data")
