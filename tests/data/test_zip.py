"""Nested batches: sizes, epochs and cycles of each data set."""

from typing import Any

import pytest
import torch

from frame.common.errors import UserError
from frame.data.base import Batch, count_rows
from frame.data.digits import Digits
from frame.data.loader import Loader
from frame.data.map import Keep, Map
from frame.data.memory import InMemory
from frame.data.take import Take
from frame.data.zip import Zip


def rows(n: int) -> InMemory:
    return InMemory(torch.arange(n).float().unsqueeze(1), torch.arange(n) % 2)


def sets(n: int, m: int) -> tuple[Any, Any]:
    return {"train": rows(n), "valid": rows(3)}, {"train": rows(m)}


def batches(data: Zip, n: int, size: int = 4, **more: Any) -> list[Batch]:
    loader = Loader(data.training(), size, 7, **more)
    found: list[Batch] = []
    while len(found) < n:
        found += list(loader)
    return found[:n]


def test_the_shorter_one_cycles_and_each_pass_is_a_new_permutation() -> None:
    labelled, unlabelled = sets(10, 50)
    found = batches(Zip(labelled, {"unlabelled": unlabelled}, {"unlabelled": 8}), 14)
    assert len(Loader(Zip(labelled, {"unlabelled": unlabelled}, 8).training(), 4)) == 7  # 50 rows in batches of 8
    assert [len(batch["unlabelled"]["index"]) for batch in found] == [8, 8, 8, 8, 8, 8, 2] * 2
    for start in (0, 7):  # an epoch is one pass over the longest
        seen = torch.cat([batch["unlabelled"]["index"] for batch in found[start : start + 7]])
        assert sorted(seen.tolist()) == list(range(50))
    passes = [torch.cat([batch["index"] for batch in found[i : i + 2]]) for i in range(0, 14, 2)]
    assert all(len(set(rows.tolist())) == 8 for rows in passes)  # 2 of the 10 rows are left for the next pass
    assert len({tuple(rows.tolist()) for rows in passes}) == len(passes)
    assert all(torch.equal(batch["x"][:, 0].long(), batch["index"]) for batch in found)
    assert all(torch.equal(batch["unlabelled"]["x"][:, 0].long(), batch["unlabelled"]["index"]) for batch in found)


def test_the_rows_of_a_batch_depend_only_on_its_number() -> None:
    """They depend neither on the length of epochs, which a limit changes, nor on where a run resumes."""
    labelled, unlabelled = sets(10, 50)
    data = Zip(labelled, {"unlabelled": unlabelled}, 8)
    whole = batches(data, 14)
    limited = batches(data, 14, limit=3)
    assert [batch["index"].tolist() for batch in limited] == [batch["index"].tolist() for batch in whole]
    resumed = Loader(data.training(), 4, 7)
    resumed.load_state_dict({"epoch": 1, "position": 3})
    assert next(iter(resumed))["index"].tolist() == whole[10]["index"].tolist()


@pytest.mark.parametrize("epoch, n_batches", [("longest", 13), ("data", 3), ("unlabelled", 13), ("tiny", 1)])
def test_an_epoch_is_the_longest_or_the_named_one(epoch: str, n_batches: int) -> None:
    labelled, unlabelled = sets(10, 50)
    loader = Loader(Zip(labelled, {"unlabelled": unlabelled, "tiny": {"train": rows(2)}}, epoch=epoch).training(), 4)
    assert len(loader) == n_batches == len(list(loader)) and loader.epochs == 1
    first = next(iter(loader))
    assert len(first["tiny"]["index"]) == 2 and count_rows(first) == 4 + 4 + 2  # all rows, each once
    assert sum(n for n, _ in loader.kinds()) == n_batches and loader.rows == 4 + 4 + 2


def test_evaluations_see_the_first_data_set_alone() -> None:
    data = Zip(Take(Digits(), 50, splits=["train"]), {"unlabelled": Map(Take(Digits(), skip=50), Keep(["x"]))})
    assert [len(data.split(split)) for split in data.splits] == [50, 200, 300]
    assert data.keys == ("x", "y", "unlabelled", "unlabelled.x") and data.n_classes == 10 and data.shape == (1, 8, 8)
    batch = next(iter(Loader(data.training(), 16)))
    assert set(batch["unlabelled"]) == {"x", "index"} and batch["unlabelled"]["x"].shape == (16, 1, 8, 8)
    assert len(data.training()) == 50 and not torch.equal(batch["x"], batch["unlabelled"]["x"])


@pytest.mark.parametrize(
    "more, why",
    [
        ({"beside": {}}, "give at least one other data set"),
        ({"beside": {"x": Digits()}}, "beside.x: a batch cannot have a batch of that name"),
        ({"batch_size": {"unlabeled": 3}}, "did you mean 'unlabelled'"),
        ({"batch_size": 0}, "batch_size.unlabelled=0 must be"),
        ({"epoch": "longst"}, "did you mean 'longest'"),
        (
            {"beside": {"unlabelled": {"train": rows(3)}}},
            r"'x' is float32 \[1, 8, 8\] in the data and float32 \[1\] in",
        ),
        ({"beside": {"unlabelled": {"train": InMemory(torch.zeros(0, 1, 8, 8))}}}, "'unlabelled' has no rows"),
    ],
)
def test_errors_are_one_line_before_training(more: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        Zip(**{"data": Digits(), "beside": {"unlabelled": Digits()}, **more}).training()
    assert "\n" not in str(caught.value)
    pictures_with_rows = Zip(Digits(), {"rows": {"train": rows(3)}}, alike=False)
    assert pictures_with_rows.training() is pictures_with_rows.training()


def test_a_stream_that_ranks_cannot_share_is_named() -> None:
    with pytest.raises(UserError, match="'few' of 1 rows cannot be shared by 2 processes"):
        Loader(Zip(sets(10, 1)[0], {"few": sets(10, 1)[1]}).training(), 4, world=2)
