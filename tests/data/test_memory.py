"""Pictures in memory: scale and binarization, against their definitions."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_bytes_are_scaled_to_0_to_1() -> None:
    batch = whole_batch(InMemory(LEVELS, torch.tensor([7])), torch.tensor([0]))
    assert batch["x"].dtype == torch.float32 and batch["x"].shape == (1, 1, 16, 16)
    torch.testing.assert_close(batch["x"].flatten(), torch.arange(256) / 255, rtol=1e-6, atol=0)
    assert batch["y"].tolist() == [7] and batch["index"].tolist() == [0]


def test_float_rows_are_used_as_they_are_and_labels_are_optional() -> None:
    rows = torch.randn(5, 3)
    batch = whole_batch(InMemory(rows), torch.tensor([4, 0]))
    assert torch.equal(batch["x"], rows[[4, 0]]) and set(batch) == {"x", "index"}


def test_dynamic_draws_each_pixel_with_its_value_as_probability() -> None:
    n = 4000
    source = InMemory(LEVELS.expand(n, 1, 16, 16).contiguous(), binarize="dynamic")
    x = whole_batch(source, torch.arange(n))["x"]
    assert set(x.unique().tolist()) == {0.0, 1.0}
    p = torch.arange(256) / 255
    mean = x.flatten(1).mean(0)
    assert mean[0] == 0 and mean[255] == 1  # certain pixels are certain
    error = (mean - p)[1:-1] / (p * (1 - p) / n).sqrt()[1:-1]
    assert error.abs().max() < 5 and abs(error.mean()) < 5 / 254**0.5 and 0.8 < error.std() < 1.2


def test_dynamic_draws_new_pixels_at_each_use_and_static_never() -> None:
    grey = torch.full((8, 1, 8, 8), 128, dtype=torch.uint8)
    for binarize, changes in (("dynamic", True), ("static", False), ("none", False)):
        loader = Loader(InMemory(grey, binarize=binarize), 8, shuffle=False)
        one, two = next(iter(loader))["x"], next(iter(loader))["x"]
        assert torch.equal(one, two) != changes


def test_static_is_fixed_by_its_seed_and_stored_as_black_and_white() -> None:
    grey = torch.full((100, 1, 8, 8), 64, dtype=torch.uint8)
    a, b, c = (InMemory(grey, binarize="static", seed=seed).x for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert a.dtype == torch.uint8 and set(a.unique().tolist()) == {0, 255}
    p, n = 64 / 255, a.numel()
    assert abs((a == 255).float().mean().item() - p) < 5 * (p * (1 - p) / n) ** 0.5
    assert set(whole_batch(InMemory(grey, binarize="static"), torch.arange(3))["x"].unique().tolist()) == {0.0, 1.0}


def test_errors() -> None:
    with pytest.raises(UserError, match="did you mean 'dynamic'.*dynamic, none, static"):
        InMemory(LEVELS, binarize="dynamik")
    with pytest.raises(UserError, match="uint8"):
        InMemory(torch.rand(3, 2), binarize="static")
    with pytest.raises(UserError, match="1 rows and 2 labels"):
        InMemory(LEVELS, torch.zeros(2))


@pytest.mark.parametrize(
    "x, seen",
    [
        (torch.arange(6, dtype=torch.uint8).view(2, 3), torch.int64),  # counts are not divided by 255
        (torch.arange(6, dtype=torch.int64).view(2, 3), torch.int64),
        (torch.arange(6, dtype=torch.int32).view(2, 3), torch.int32),
        (torch.arange(6).view(2, 3) > 2, torch.float32),
        (torch.randn(2, 3), torch.float32),
        (torch.randn(2, 5, 50), torch.float32),
    ],
)
def test_rows_of_any_shape_keep_their_values(x: torch.Tensor, seen: torch.dtype) -> None:
    rows = TensorDataset(x)
    for source in (InMemory(x), PerSample(rows, range(2))):
        batch = whole_batch(source, torch.arange(2))
        assert batch["x"].dtype == seen and torch.equal(batch["x"], x.to(seen))


def test_pictures_have_any_number_of_channels() -> None:
    many = np.arange(2 * 13 * 20 * 20).reshape(2, 13, 20, 20).astype(np.uint8)
    expected = torch.from_numpy(many).float() / 255
    last = [(one.transpose(1, 2, 0),) for one in many]
    for source in (InMemory(many), PerSample([(one,) for one in many]), PerSample(last)):
        torch.testing.assert_close(whole_batch(source, torch.arange(2))["x"], expected)


def test_tokens_lie_in_their_vocabulary() -> None:
    assert InMemory(torch.tensor([[0, 4], [2, 3]]), vocabulary=5).vocabulary == 5
    with pytest.raises(UserError, match="'x' has tokens 0 to 5, and a vocabulary of 5 has 0 to 4"):
        InMemory(torch.tensor([[0, 5]]), vocabulary=5)
    with pytest.raises(UserError, match="needs pictures as uint8"):
        InMemory(torch.zeros(2, 3, dtype=torch.uint8), binarize="dynamic")


def test_columns_come_with_their_rows() -> None:
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    source = InMemory(torch.randn(3, 4, 2), mask=mask, env=[0, 1, 1])
    batch = whole_batch(source, torch.tensor([2, 0]))
    assert torch.equal(batch["mask"], mask[[2, 0]]) and batch["env"].tolist() == [1, 0]
    item = {"x": torch.randn(4, 2), "mask": np.array([True, False])}
    assert whole_batch(PerSample([item, item]), torch.arange(2))["mask"].dtype == torch.bool
    with pytest.raises(UserError, match=r"'env' has the shape \[2\] and x 3 rows"):
        InMemory(torch.randn(3, 2), env=[0, 1])
    with pytest.raises(UserError, match=r"list: 'mask' has the shape \[1, 3\] and 'x' \[1, 4, 2\]"):
        PerSample([{"x": torch.randn(4, 2), "mask": np.array([True] * 3)}]).batch(torch.arange(1))
