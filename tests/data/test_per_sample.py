"""Data sets of single rows, in the forms of other libraries."""

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.digits import Digits
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample, as_data_set

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


class Rows:
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


@pytest.mark.parametrize(
    "item",
    [
        (Image.fromarray(PIXELS), 3),
        (PIXELS, np.int64(3)),
        (torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()), torch.tensor(3)),
        {"x": PIXELS, "y": 3},
        {"image": Image.fromarray(PIXELS), "label": 3},
        [PIXELS, np.uint8(3)],
    ],
)
def test_items_in_every_form_become_the_same_batch(item: Any) -> None:
    source = PerSample(Rows(item, item))
    stored = source.batch(torch.tensor([1, 0]))
    assert stored["x"].dtype == torch.uint8 and stored["y"].dtype == torch.int64
    batch = whole_batch(source, torch.tensor([1, 0]))
    expected = torch.tensor(PIXELS.transpose(2, 0, 1) / 255, dtype=torch.float32)
    torch.testing.assert_close(batch["x"], expected.expand(2, 3, 2, 4))
    assert batch["y"].tolist() == [3, 3] and batch["index"].tolist() == [1, 0]


def test_pictures_of_every_mode() -> None:
    grey = Image.fromarray(PIXELS).convert("L")
    for picture, channels in ((grey, 1), (grey.convert("1"), 1), (grey.convert("P"), 3), (grey.convert("RGBA"), 4)):
        x = PerSample(Rows(picture)).batch(torch.arange(1))["x"]
        assert x.shape == (1, channels, 2, 4) and x.dtype == torch.uint8
    assert torch.equal(PerSample(Rows(grey)).batch(torch.arange(1))["x"][0, 0], torch.from_numpy(np.array(grey)))


def test_other_arrays_and_entries_are_kept() -> None:
    item = {"x": np.ones((2, 5)), "y": 0.5, "factors": np.array([1, 2])}
    batch = whole_batch(PerSample(Rows(item)), torch.arange(1))
    assert batch["x"].shape == (1, 2, 5) and batch["x"].dtype == torch.float32
    assert batch["y"].tolist() == [0.5] and batch["factors"].tolist() == [[1, 2]]


def test_items_that_cannot_be_read_are_refused_in_one_line() -> None:
    wrong: list[tuple[Rows, str]] = [
        (Rows((1, 2, 3)), "items of 3 parts"),
        (Rows({"y": 1}), "no 'x'"),
        (Rows({"x": 1.0, "caption": "a cat"}), "'caption' as str"),
        (Rows(PIXELS, PIXELS[:1]), "different shapes"),
        (Rows({"x": 1.0, "y": 1}, {"x": 1.0}), "different shapes"),
    ]
    for rows, why in wrong:
        with pytest.raises(UserError, match=why) as caught:
            PerSample(rows).batch(torch.arange(len(rows)))
        assert "\n" not in str(caught.value)


def test_one_data_set_becomes_train_and_valid() -> None:
    x = torch.randn(25, 3)
    data = as_data_set(TensorDataset(x, torch.arange(25)))
    train, valid = data.split("train"), data.split("valid")
    assert data.splits == ("train", "valid") and (len(train), len(valid)) == (23, 2)
    assert valid.batch(torch.arange(2))["y"].tolist() == [2, 5]  # by a fixed permutation
    rows = torch.cat([batch["y"] for source in (train, valid) for batch in Loader(source, 7)])
    assert sorted(rows.tolist()) == list(range(25))
    assert data.shape == (3,) and data.n_classes is None
    with pytest.raises(UserError, match="no split 'test': give data as a mapping"):
        data.split("test")
    few = as_data_set(TensorDataset(x[:3]))
    assert [len(few.split(split)) for split in few.splits] == [2, 1]


def test_a_mapping_gives_its_splits() -> None:
    rows = [TensorDataset(torch.randn(n, 2)) for n in (20, 5, 7)]
    data = as_data_set(dict(zip(("train", "valid", "test"), rows, strict=True)))
    assert [len(data.split(split)) for split in data.splits] == [20, 5, 7]
    data = as_data_set({"train": rows[0], "test": rows[2]})
    assert [len(data.split(split)) for split in data.splits] == [18, 2, 7]
    config = OmegaConf.create({"train": rows[0]}, flags={"allow_objects": True})  # as from Hydra's instantiate
    assert len(as_data_set(config).split("train")) == 18
    in_memory = InMemory(torch.zeros(4, 1, 2, 2, dtype=torch.uint8))
    assert as_data_set({"train": in_memory}).split("train") is in_memory
    digits = Digits()
    assert as_data_set(digits) is digits


def test_invalid_data_are_refused() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return iter(())

    with pytest.raises(UserError, match="Stream has no __len__"):
        as_data_set(Stream())
    with pytest.raises(UserError, match="no split 'tset': did you mean 'test'"):
        as_data_set({"train": Rows(1), "tset": Rows(1)})
    with pytest.raises(UserError, match="no split 'train', only: test"):
        as_data_set({"test": Rows(1)})
