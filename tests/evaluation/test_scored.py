"""What a target tells."""

import pytest
import torch

from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.scored import Target


class Labelled(DataSet):
    splits = ("train",)

    def __init__(self, y: torch.Tensor) -> None:
        super().__init__()
        self.y = y

    def load(self, split: str) -> Source:
        return InMemory(torch.zeros(len(self.y), 2), self.y)


@pytest.mark.parametrize(("sizes", "told"), [((4, 4), False), ((5, 4), False), ((6, 4), True), ((30, 1), True)])
def test_unequal_classes_tell_their_balanced_accuracy(sizes: tuple[int, int], told: bool) -> None:
    y = torch.repeat_interleave(torch.arange(2), torch.tensor(sizes))
    assert list(Target.of(Labelled(y), "train").units) == ["accuracy", *["balanced_accuracy"] * told]


def test_classes_whose_sizes_are_unknown_tell_it() -> None:
    data = Labelled(torch.zeros(3, dtype=torch.long))
    source = data.split("train")
    assert isinstance(source, InMemory)
    source.labels = lambda: None  # type: ignore[attr-defined]
    assert "balanced_accuracy" in Target.of(data, "train").units
