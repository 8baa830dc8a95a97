"""dSprites' factors: geometry in closed form, and the format of the official file."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import Resident, whole_batch
from frame.data.loader import Loader
from frame.data.sprites import Packed, SpriteRows, Sprites

SIZES = (3, 6, 40, 32, 32)
DATA = Sprites("/nowhere")
SQUARE, ELLIPSE, HEART = range(3)


def row(*factors: int) -> int:
    """shape, scale, orientation, x, y -> the official file's row, by its definition."""
    index = 0
    for value, size in zip(factors, SIZES, strict=True):
        index = index * size + value
    return index


def pictures(*rows: int) -> Tensor:
    return whole_batch(DATA.split("train"), torch.tensor(rows))["x"]


def centre(x: Tensor) -> tuple[float, float]:
    """Of mass, in pixels: to the right, downwards."""
    along = torch.arange(64.0)
    return (x.sum((0, 1)) @ along / x.sum()).item(), (x.sum((0, 2)) @ along / x.sum()).item()


def test_a_batch_has_bytes_factors_and_the_shape() -> None:
    source = DATA.split("train")
    assert len(source) == 737_280 == DATA.n_rows and DATA.shape == (1, 64, 64)
    stored = source.batch(torch.tensor([5, 700_000]))
    assert set(stored) == {*DATA.keys, "index"} and stored["x"].dtype == torch.uint8
    batch = whole_batch(source, torch.tensor([5, 700_000]))
    assert batch["x"].shape == (2, 1, 64, 64) and batch["x"].unique().tolist() == [0, 1]
    assert batch["factors"].dtype == torch.int64 and batch["factors"][0].tolist() == [0, 0, 0, 0, 5]
    assert batch["y"].tolist() == [SQUARE, HEART] and DATA.n_classes == 3
    assert len(DATA.factor_names) == len(DATA.factor_sizes) == 5


def test_rows_and_factors_agree() -> None:
    rows = torch.randperm(737_280)[:1000]
    factors = DATA.split("train").batch(rows)["factors"]
    assert [row(*values) for values in factors.tolist()] == rows.tolist()
    assert factors.min(0).values.tolist() == [0] * 5
    assert DATA.split("train").batch(torch.tensor([737_279]))["factors"].tolist() == [[n - 1 for n in SIZES]]


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_a_position_is_the_centre_of_mass_pixel_for_pixel(shape: int) -> None:
    for x, y in ((0, 0), (31, 0), (7, 20), (31, 31)):
        right, down = centre(pictures(row(shape, 5, 3, x, y))[0])
        # 16 pixels at position 0; a sprite of 331 pixels has its centre within a fraction of one
        assert right == pytest.approx(16 + x, abs=0.15) and down == pytest.approx(16 + y, abs=0.15)
    one, two = pictures(row(shape, 2, 9, 4, 30), row(shape, 2, 9, 11, 25))
    assert torch.equal(one.roll((-5, 7), (1, 2)), two)


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_area_grows_with_the_square_of_the_scale(shape: int) -> None:
    for i, scale in enumerate((0.5, 0.6, 0.7, 0.8, 0.9, 1.0)):
        # borders cut pixels, which the mean over orientations averages out
        area = pictures(*[row(shape, i, k, 3, 3) for k in range(40)]).sum((1, 2, 3)).mean().item()
        assert area == pytest.approx((18.2 * scale) ** 2, rel=0.03)


def test_no_sprite_leaves_the_picture() -> None:
    for corner in ((0, 0), (31, 31)):
        x = pictures(*[row(shape, 5, k, *corner) for shape in range(3) for k in range(40)])
        assert x[..., 0].sum() == x[..., -1].sum() == x[:, :, 0].sum() == x[:, :, -1].sum() == 0


def test_turns() -> None:
    """40 steps are a whole turn: a square is itself after 10, an ellipse after 20, a heart after 40 only."""
    for scale in range(6):
        for k in range(40):
            turned = [pictures(*[row(shape, scale, (k + n) % 40, 9, 9) for n in (0, 10, 20)]) for shape in range(3)]
            assert torch.equal(turned[SQUARE][0], turned[SQUARE][1])
            assert torch.equal(turned[ELLIPSE][0], turned[ELLIPSE][2])
            assert not torch.equal(turned[ELLIPSE][0], turned[ELLIPSE][1])
            assert not torch.equal(turned[HEART][0], turned[HEART][2])
            # a quarter of a turn turns the picture itself, clockwise, about the sprite's centre
            around = turned[HEART][:2, 0, 25 - 20 : 25 + 21, 25 - 20 : 25 + 21]
            assert torch.equal(torch.rot90(around[0], -1), around[1])


def test_shapes_match_their_names() -> None:
    square, ellipse, heart = pictures(*[row(shape, 5, 0, 16, 16) for shape in range(3)])[:, 0]
    assert square[32 - 9 : 32 + 10, 32 - 9 : 32 + 10].all() and square.sum() == 19**2
    wide, high = ((ellipse.sum(dim) > 0).sum().item() for dim in (0, 1))
    r = 18.2 / math.sqrt(2 * math.pi)
    assert (wide, high) == (2 * int(2 * r) + 1, 2 * int(r) + 1)
    assert torch.equal(heart[:, 32 - 20 : 32 + 21], heart[:, 32 - 20 : 32 + 21].flip(1))
    rows = heart.sum(1)
    first, last = rows.nonzero()[0].item(), rows.nonzero()[-1].item()
    # two lobes above with a dent between them, a tip below
    assert rows[int(first) + 2] > 3 * rows[int(last)] and heart[int(first), 32] == 0


def test_splits_are_fixed_rows_and_held_out_only_if_asked() -> None:
    again, kept = Sprites("/nowhere"), Sprites("/nowhere", n_valid=100, n_test=50, held_out=True)
    for split in ("valid", "test"):
        one = DATA.split(split).batch(torch.arange(10_000))
        two = again.split(split).batch(torch.arange(10_000))
        assert torch.equal(one["factors"], two["factors"]) and torch.equal(one["x"], two["x"])
        assert one["index"].tolist() == list(range(10_000))
    rows = {
        split: {row(*f) for f in kept.split(split).batch(torch.arange(len(kept.split(split))))["factors"].tolist()}
        for split in ("valid", "test")
    }
    assert len(rows["valid"]) == 100 and len(rows["test"]) == 50 and not rows["valid"] & rows["test"]
    train = kept.split("train")
    assert len(train) == 737_130 and isinstance(train, SpriteRows) and train.rows is not None
    assert not (rows["valid"] | rows["test"]) & set(train.rows.tolist())


def test_resident_rows_are_the_same_rows() -> None:
    for split in ("train", "test"):
        source = DATA.split(split)
        assert isinstance(source, Resident)
        one, two = (s.batch(torch.tensor([3, 9999])) for s in (source, source.to(torch.device("cpu"))))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_epoch_has_every_combination_once() -> None:
    loader = Loader(DATA.split("train"), 4096, seed=1)
    seen = torch.zeros(737_280, dtype=torch.int64)
    for indices in loader._order(0).split(4096):
        seen[indices] += 1
    assert seen.min() == seen.max() == 1
    first = next(iter(loader))
    assert torch.equal(first["x"], whole_batch(DATA.split("train"), first["index"])["x"])


def test_rendering_is_fast() -> None:
    """10,000 pictures a second; 250,000 were measured on one thread. The fastest of five."""
    source, indices = DATA.split("train"), torch.arange(0, 737_280, 720)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        source.batch(indices)
        seconds.append(time.perf_counter() - start)
    assert len(indices) / min(seconds) > 10_000


# The official file: here with factors of fewer values


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    monkeypatch.setattr(Sprites, "factor_sizes", (3, 2, 2, 2, 2))
    imgs = np.random.default_rng(0).integers(0, 2, (48, 64, 64)).astype(np.uint8)
    return tmp_path, imgs


def write(folder: Path, **arrays: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / Sprites.file
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("below", ["", "dsprites"])
def test_the_official_file_is_read_if_there_is_one(small: tuple[Path, np.ndarray], below: str) -> None:
    root, imgs = small
    path = write(root / below, metadata=np.array({"a": 1}), imgs=imgs, latents_classes=np.zeros((48, 6), np.int64))
    data = Sprites(root, n_valid=5, n_test=5)
    assert data.path == path
    batch = whole_batch(data.split("train"), torch.arange(48))
    assert torch.equal(batch["x"], torch.from_numpy(imgs).unsqueeze(1).float())
    assert batch["factors"][13].tolist() == [0, 1, 1, 0, 1] and batch["y"].tolist() == [0] * 16 + [1] * 16 + [2] * 16
    valid = whole_batch(data.split("valid"), torch.arange(5))
    rows = (valid["factors"] * torch.tensor([16, 8, 4, 2, 1])).sum(1)
    assert torch.equal(valid["x"], torch.from_numpy(imgs).unsqueeze(1).float()[rows])
    source = data.split("valid")
    assert isinstance(source, SpriteRows) and isinstance(source.pictures, Packed)
    assert torch.equal(source.to(torch.device("cpu")).batch(torch.arange(5))["x"] / 255, valid["x"])
    assert Sprites(root, official=False, n_valid=5, n_test=5).path is None


def test_broken_files_are_refused_in_one_line(small: tuple[Path, np.ndarray]) -> None:
    root, imgs = small
    data = Sprites(root, n_valid=5, n_test=5)
    whole = write(root, imgs=imgs).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for content in (b"", whole[: len(whole) // 2], whole[:-30], bytes(flipped)):
        (root / Sprites.file).write_bytes(content)
        with pytest.raises(UserError, match=r"co1sh3.*npz is broken \(.+\)") as caught:
            data.split("train")
        assert "\n" not in str(caught.value)
    for arrays, why in (
        ({"imgs": imgs[:47]}, "'imgs' has shape"),
        ({"imgs": imgs.astype(np.int64)}, "type int64"),
        ({"imgs": imgs * 255}, "value 255"),
        ({"images": imgs}, "no item named"),
    ):
        write(root, **arrays)
        with pytest.raises(UserError, match=f"is broken .*{why}"):
            data.split("train")


def test_errors() -> None:
    with pytest.raises(UserError, match="n_valid=0: it must be at least 1"):
        Sprites("/nowhere", n_valid=0)
    with pytest.raises(UserError, match="must leave some of 737280 rows"):
        Sprites("/nowhere", n_valid=700_000, n_test=40_000)
