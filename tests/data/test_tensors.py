"""Arrays, tensors and pictures of unusual types give the right rows, or an error of one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample

BYTES = np.random.RandomState(0).randint(0, 256, (6, 1, 8, 8)).astype(np.uint8)
ROWS = np.random.RandomState(1).randn(6, 5)


def seen(x: Any) -> torch.Tensor:
    return whole_batch(InMemory(x), torch.arange(6))["x"]


def memory_mapped(tmp_path: Path, array: np.ndarray) -> np.ndarray:
    file = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
    np.save(file, array)
    return np.load(file, mmap_mode="r")


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, ">f4", ">f8", np.longdouble])
def test_floats_of_every_type_are_float32(kind: Any) -> None:
    x = seen(ROWS.astype(kind))
    assert x.dtype == torch.float32 and torch.allclose(x, torch.from_numpy(ROWS).float(), atol=2e-3)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_likewise_and_without_their_gradients(kind: torch.dtype) -> None:
    x = seen(torch.from_numpy(ROWS).to(kind).requires_grad_())
    assert x.dtype == torch.float32 and not x.requires_grad


def test_any_memory_layout(tmp_path: Path) -> None:
    expected = torch.from_numpy(BYTES).float() / 255
    forms = [
        BYTES,
        np.asfortranarray(BYTES),
        BYTES[::-1][::-1],
        memory_mapped(tmp_path, BYTES),
        memory_mapped(tmp_path, np.asfortranarray(BYTES)),
        np.ma.masked_array(BYTES),
        torch.from_numpy(BYTES),
        torch.from_numpy(BYTES).permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
        BYTES.transpose(0, 2, 3, 1),  # H x W x C
    ]
    for form in forms:
        assert torch.allclose(seen(form), expected)
    read_only = BYTES.copy()
    read_only.flags.writeable = False
    assert torch.allclose(seen(read_only), expected)


def test_booleans_are_black_and_white() -> None:
    assert torch.equal(seen(BYTES > 99), torch.from_numpy((BYTES > 99).astype(np.float32)))


def with_nan(value: float) -> np.ndarray:
    rows = ROWS.copy()
    rows[4, 2] = value
    return rows


@pytest.mark.parametrize(
    "x, why",
    [
        (BYTES.astype(np.float32), "whole numbers up to 25. as float32: give 0 to 255 as uint8"),
        (BYTES.astype(np.int32), "pictures as int32: give 0 to 255 as uint8"),
        (BYTES.astype(np.int64), "pictures as int64"),
        (BYTES.astype(np.uint16), "pictures as uint16"),
        (BYTES.astype(np.int8), "pictures as int8"),
        (with_nan(float("nan")), "NaN or infinite in 1 of 6 rows, first in row 4"),
        (with_nan(float("inf")), "first in row 4"),
        (ROWS.astype(object), "holds objects"),
        (ROWS.astype(str), "holds words"),
        (ROWS.astype(complex), "complex"),
        (torch.zeros(6, 2, dtype=torch.complex64), "complex"),
        (np.zeros(6, [("a", int)]), "records"),
        (np.array(["2020-01-01"] * 6, "M8[D]"), "dates"),
        (np.ma.masked_less(ROWS, 0), "masked values"),
        (torch.tensor(3.0), "single number"),
        (torch.eye(6).to_sparse(), "sparse"),
        ("a path", "as str"),
        (None, "as NoneType"),
        ([[1.0], [1.0, 2.0]], "as list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_data_are_refused_in_one_line(x: Any, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        InMemory(x)
    assert "\n" not in str(caught.value)


def test_floats_that_only_look_like_pictures_are_kept() -> None:
    for x in (BYTES / 255, BYTES / 255 * 2 - 1, np.round(BYTES / 255), np.zeros((6, 1, 8, 8)), ROWS * 100):
        assert torch.allclose(seen(x), torch.from_numpy(np.asarray(x)).float())
    assert len(InMemory(np.zeros((0, 1, 8, 8), np.uint8))) == 0 and len(InMemory(BYTES[:1])) == 1
    assert InMemory(np.arange(12).reshape(6, 2)).x.dtype == torch.int64  # such as tokens


class One(Dataset):
    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return self.item


def row(item: Any) -> torch.Tensor:
    x: torch.Tensor = PerSample(One(item)).batch(torch.tensor([2]))["x"][0]
    return x


def test_single_pictures_end_as_channels_first() -> None:
    colour = np.random.RandomState(2).randint(0, 256, (8, 9, 3)).astype(np.uint8)
    expected = torch.from_numpy(colour).permute(2, 0, 1)
    forms = [colour, colour.transpose(2, 0, 1), np.asfortranarray(colour), torch.from_numpy(colour), expected]
    for form in (*forms, Image.fromarray(colour), Image.fromarray(colour).convert("RGBA").convert("RGB")):
        assert torch.equal(row(form), expected)
    assert row(Image.fromarray(colour).convert("CMYK")).shape == (3, 8, 9)
    assert row(colour[..., 0] > 9).unique().tolist() == [0, 255]
    assert torch.equal(row(colour[..., 0]), expected[:1])


@pytest.mark.parametrize(
    "item, why",
    [
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "row 2: 'x' is a picture of (16 bits|32-bit)"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "row 2: 'x' is a picture of floating-point"),
        (np.full((1, 8, 8), 200, np.int32), "row 2: 'x' has pictures as int32"),
        (np.full((1, 8, 8), 200.0), "row 2: 'x' has pictures of whole numbers up to 200"),
        (np.full(5, np.nan), "row 2: 'x' is NaN or infinite"),
        (np.full(5, 1j), "row 2: 'x' holds complex"),
        (np.array([None]), "row 2: 'x' holds objects"),
        ("a.png", "row 2: 'x' as str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_that_cannot_be_used_is_named(item: Any, why: str) -> None:
    with pytest.raises(UserError, match=f"One, {why}") as caught:
        row(item)
    assert "\n" not in str(caught.value)
