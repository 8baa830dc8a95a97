"""Pictures in memory: scale and binarization, against their definitions."""

import pytest
import torch

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.loader import Loader
from frame.data.memory import InMemory

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_bytes_become_parts_of_one() -> None:
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


def test_dynamic_is_afresh_at_each_use_and_static_never() -> None:
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


def test_mistakes() -> None:
    with pytest.raises(UserError, match="did you mean 'dynamic'.*dynamic, none, static"):
        InMemory(LEVELS, binarize="dynamik")
    with pytest.raises(UserError, match="uint8"):
        InMemory(torch.rand(3, 2), binarize="static")
    with pytest.raises(UserError, match="1 pictures and 2 labels"):
        InMemory(LEVELS, torch.zeros(2))
