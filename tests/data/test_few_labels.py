"""A few labelled rows with the rest unlabelled: the draw, what batches hold, and refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.data.base import DataSet, Source, keys_in, whole_batch
from frame.data.digits import Digits
from frame.data.few_labels import FewLabels
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.data.take import Take
from frame.engine.experiment import build_data


class Add(nn.Module):
    """x + by, and noise far below it."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x + self.by + 1e-3 * torch.rand(x.shape, generator=generator)


class Labels(DataSet):
    """Rows with these labels in each split."""

    def __init__(self, y: list[int], n_classes: int | None = 3, classes: list[str] | None = None) -> None:
        super().__init__()
        self.y, self.n, self.names = y, n_classes, classes

    @property
    def n_classes(self) -> int | None:
        return self.n

    @property
    def classes(self) -> list[str] | None:
        return self.names

    def load(self, split: str) -> Source:
        return InMemory(torch.arange(len(self.y)).float().unsqueeze(1), self.y)


def drawn(data: FewLabels) -> set[int]:
    return set(data.rows[0])


@pytest.mark.parametrize("n", [1, 3, 40])
def test_each_class_has_n_labelled_rows_and_the_rest_is_without_labels(n: int) -> None:
    data, whole = FewLabels(Digits(), n, seed=5), Digits().split("train")
    source = data.training()
    batch = whole_batch(source, {"": torch.arange(10 * n), "unlabelled": torch.arange(1297 - 10 * n)})
    assert torch.bincount(batch["y"]).tolist() == [n] * 10
    assert set(batch["unlabelled"]) == {"x", "index"}
    labelled, others = data.rows
    assert sorted(labelled + others) == list(range(1297))
    plain = whole_batch(whole, torch.tensor(labelled))
    assert torch.equal(batch["x"], plain["x"]) and torch.equal(batch["y"], plain["y"])
    assert torch.equal(batch["unlabelled"]["x"], whole_batch(whole, torch.tensor(others))["x"])


def test_the_draw_is_the_seed_s_and_grows_with_n() -> None:
    one, again, other = (FewLabels(Digits(), 4, seed=seed) for seed in (1, 1, 2))
    assert drawn(one) == drawn(again) != drawn(other)
    assert drawn(FewLabels(Digits(), 2, seed=1)) < drawn(one)
    assert len({row for seed in range(30) for row in drawn(FewLabels(Digits(), 1, seed=seed))}) > 200  # no fixed rows


def test_evaluations_see_the_labelled_rows_and_whole_splits() -> None:
    data = FewLabels(Digits(), 3, weak={"add": Add(1)}, strong={"add": Add(2)}, train_on_view=True)
    assert [len(data.split(split)) for split in data.splits] == [30, 200, 300]
    for split in data.splits:
        rows = torch.arange(30)
        assert torch.equal(
            whole_batch(data.split(split), rows)["x"],
            whole_batch(Take(Digits(), data.rows[0], splits=["train"]).split(split), rows)["x"],
        )


@pytest.mark.parametrize("train_on_view", [False, True])
def test_weak_and_strong_views_of_every_row(train_on_view: bool) -> None:
    data = FewLabels(
        Digits(), 3, batch_size=50, weak={"a": Add(1), "b": Add(3)}, strong={"a": Add(20)}, train_on_view=train_on_view
    )
    first = next(iter(Loader(data.training(), 16)))
    assert len(first["x"]) == 16 and len(first["unlabelled"]["x"]) == 50
    whole = Digits().split("train")
    for batch, rows in ((first, data.rows[0]), (first["unlabelled"], data.rows[1])):
        x = whole_batch(whole, torch.tensor(rows)[batch["index"]])["x"]
        weak, strong = batch["views"]
        torch.testing.assert_close(weak, x + 4, rtol=0, atol=3e-3)
        torch.testing.assert_close(strong, x + 20, rtol=0, atol=3e-3)
        assert torch.equal(batch["x"], weak if train_on_view else x)
    again, other = (whole_batch(data.training(), torch.arange(4), seed=seed)["views"][0] for seed in (1, 2))
    assert not torch.equal(again, other)
    assert (
        set(data.keys) == set(keys_in(first)) == {"x", "y", "views", "unlabelled", "unlabelled.x", "unlabelled.views"}
    )


def test_an_epoch_is_a_pass_over_the_unlabelled_rows() -> None:
    loader = Loader(FewLabels(Digits(), 1, batch_size=64).training(), 5)
    rows = torch.cat([batch["unlabelled"]["index"] for batch in loader])
    assert len(loader) == 21 and sorted(rows.tolist()) == list(range(1287))
    # few unlabelled rows: not a pass over the labelled ones
    assert len(Loader(FewLabels(Labels([0, 1, 2] * 9), 7).training(), 3)) == 2


@pytest.mark.parametrize("n", [None, 2])
def test_rows_of_another_data_set_stand_for_those_that_were_not_drawn(n: int | None) -> None:
    pool = {"train": TensorDataset(100 + torch.arange(30.0).unsqueeze(1), torch.full((30,), 7))}  # labels out of range
    data = FewLabels(Labels([0, 1, 2] * 5), n, weak={"a": Add(1)}, strong={"a": Add(2)}, unlabelled=pool)
    assert [len(data.split(split)) for split in data.splits] == [3 * (n or 5), 15, 15] and data.n_classes == 3
    seen = list(Loader(data.training(), 4))
    pooled = {int(x) for batch in seen for x in batch["unlabelled"]["x"]}
    assert len(seen) == 7 and len(pooled) == 27 and pooled < {*range(100, 130)}  # a tenth of it is its own 'valid'
    assert all(set(batch["unlabelled"]) == {"x", "views", "index"} for batch in seen)
    assert {int(y) for batch in seen for y in batch["y"]} == {0, 1, 2}
    torch.testing.assert_close(seen[0]["unlabelled"]["views"][1], seen[0]["unlabelled"]["x"] + 2, rtol=0, atol=3e-3)
    other = {"train": TensorDataset(200 + torch.arange(30.0).unsqueeze(1), torch.full((30,), 7))}
    changed = FewLabels(Labels([0, 1, 2] * 5), n, unlabelled=other)
    assert changed.identity("valid") == data.identity("valid") and changed.identity("train") != data.identity("train")


def test_masks_go_along_and_factors_do_not() -> None:
    class Series(DataSet):
        def load(self, split: str) -> Source:
            mask = torch.ones(6, 4, dtype=torch.bool)
            return InMemory(torch.zeros(6, 2, 4), [0, 1] * 3, mask=mask, factors=torch.zeros(6, 1))

    batch = whole_batch(FewLabels(Series(), 1).training(), torch.arange(2))
    assert set(batch) == {"x", "y", "mask", "factors", "index", "unlabelled"}
    assert set(batch["unlabelled"]) == {"x", "mask", "index"}


def test_the_config_serves_any_data_set() -> None:
    data: Any = build_data(compose(["experiment=digits_Classifier", "data=few_labels", "data.labels_per_class=2"]))
    assert isinstance(data, FewLabels) and len(data.training()) == 20 and data.seed == 42
    config = compose(["experiment=digits_Classifier", "data=few_labels", "data.data=MNIST", "seed=7", "data.weak=null"])
    assert config.data.data._target_.endswith("MNIST") and config.data.seed == 7 and config.data.weak is None
    assert config.data.unlabelled is None
    words = ["experiment=digits_FixMatch", "data.unlabelled=digits", "data.labels_per_class=null"]
    more: Any = build_data(compose([*words, "data.unlabelled.binarize=static"]))
    assert len(more.split("train")) == 1297 and len(more.training().sources[1]) == 1297


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: FewLabels(Labels([0, 0, 1, 1, 1]), 2), "class 2 has 0 rows .*: give data with a labelled row of each"),
        (
            lambda: FewLabels(Labels([0, 1, 1], 2, ["cat", "dog"]), 2),
            r"class 0 \('cat'\) has 1 rows in 'train', and labels_per_class=2: lower it",
        ),
        (lambda: FewLabels(Labels([0, 1, 2] * 2), 2), "labels_per_class=2 leaves no row of 6 without a label"),
        (lambda: FewLabels({"train": TensorDataset(torch.zeros(9, 2))}, 2), "has no labels, 'y': give data that have"),
        (lambda: FewLabels({"train": [(torch.zeros(2), i % 3) for i in range(9)]}, 2), "labels of .* are not known"),
        (lambda: FewLabels({"train": TensorDataset(torch.zeros(9, 2), torch.rand(9))}, 2), "'y' of .* holds numbers"),
        (
            lambda: FewLabels({"train": TensorDataset(torch.zeros(9, 2), torch.ones(9, 3))}, 2),
            "'y' of .* holds numbers",
        ),
        (lambda: FewLabels(Labels([0, 0, 1]), None, unlabelled=Digits()), "class 2 has 0 rows .*: give data"),
        (
            lambda: FewLabels(Labels([0, 1, 2]), None, unlabelled=Digits()),
            r"'x' is float32 \[1\] .* in 'unlabelled'",
        ),
        (lambda: FewLabels(Digits(), None), "labels_per_class=null labels all rows: .* as data.unlabelled"),
        (lambda: FewLabels(Digits(), 1, unlabelled="MNIST"), "'MNIST' is text"),
        (lambda: FewLabels(Digits(), 0), "labels_per_class=0: it must be at least 1"),
        (lambda: FewLabels(Digits(), 1, batch_size=0), "batch_size=0"),
        (lambda: FewLabels(Digits(), 1, seed=-1), "seed=-1: it must be a whole number from 0"),
        (lambda: FewLabels(Digits(), 1, weak={"add": Add(1)}), "give augmentations for both views"),
        (lambda: FewLabels(Digits(), 1, train_on_view=True), "train_on_view=true needs views"),
    ],
)
def test_errors_are_one_line_before_training(make: Any, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        make().training()
    assert "\n" not in str(caught.value)
