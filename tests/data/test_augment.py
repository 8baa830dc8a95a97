"""Augmentations against slow loops and kornia's, what they preserve, and the source of their noise."""

import colorsys
import pickle
import random
import subprocess
import sys
from typing import Any

import kornia
import kornia.augmentation as K
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from frame.common.errors import UserError
from frame.data import augment
from frame.data.augment import (
    Affine,
    ColourJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Library,
    Noise,
    RandomResizedCrop,
    Rotation,
    Shuffle,
    Solarize,
)
from frame.data.augment.colour import grey, jittered, solarized, turned
from frame.data.augment.geometry import affine, blurred, resized_crop
from frame.data.digits import Digits
from frame.data.loader import Loader
from frame.data.views import Views

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Affine": {"rotation": 15, "shift": 0.1, "scale": [0.9, 1.1], "shear": 10},
    "Drop": {"p": 0.2},
    "Noise": {"std": 0.2},
    "Rotation": {"degrees": 30},
}
OURS = [name for name in dir(augment) if name[0].isupper() and name != "Library"]
ALL = [getattr(augment, name)(**ARGUMENTS.get(name, {})) for name in OURS]
WITH_P = [RandomResizedCrop, HorizontalFlip, ColourJitter, Grayscale, GaussianBlur, Solarize]


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("change", ALL, ids=lambda c: type(c).__name__)
def test_pictures_stay_pictures_and_noise_is_the_generators(change: nn.Module) -> None:
    x = torch.rand(6, 3, 8, 10, generator=generator(1))
    found = change(x, generator())
    assert found.shape == x.shape and found.min() >= 0 and found.max() <= 1
    assert torch.equal(found, change(x, generator())) and not torch.equal(found, change(x, generator(2)))
    assert torch.equal(x, torch.rand(6, 3, 8, 10, generator=generator(1))), "the given batch does not change"


class NoHost(TorchDispatchMode):
    """Refuses what makes the host wait for an accelerator: values that are read, sizes and constants from values."""

    refused = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "equal", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        by_mask = "index" in name and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8)
            for part in args
            for i in (part if isinstance(part, list | tuple) else [part])
        )
        assert not by_mask and not any(word in name for word in self.refused), name
        return func(*args, **(kwargs or {}))


def test_what_waits_for_the_device_is_noticed() -> None:
    x = torch.rand(3)
    for wrong in (lambda: x.max().item(), lambda: x[x > 0.5], lambda: x * torch.tensor([1.0, 2.0, 3.0])):
        with NoHost(), pytest.raises(AssertionError):
            wrong()


@pytest.mark.parametrize("change", ALL, ids=lambda c: type(c).__name__)
def test_nothing_waits_for_the_device(change: nn.Module) -> None:
    with NoHost():
        change(pictures(4, 3, 16, 16), generator())


@pytest.mark.parametrize("kind", WITH_P)
def test_a_share_p_of_the_pictures_changes_each_in_its_own_way(kind: Any) -> None:
    x = pictures(1, 3, 16, 16).expand(400, 3, 16, 16)
    assert torch.allclose(kind(p=0)(x, generator()), x, atol=1e-5, rtol=0)
    found = kind(p=0.3)(x, generator())
    changed = ((found - x).abs().amax((1, 2, 3)) > 1e-3).float()
    assert abs(changed.mean() - 0.3) < 0.1
    n_ways = len(torch.unique(found.flatten(1), dim=0))
    assert n_ways == 2 if kind in (HorizontalFlip, Grayscale, Solarize) else n_ways > 80


def test_a_crop_is_interpolate_of_its_box() -> None:
    x = pictures(6, 3, 20, 27)
    box = torch.tensor([[0, 0, 20, 27], [3, 5, 4, 9], [19, 26, 1, 1], [0, 7, 20, 20], [2, 0, 11, 1], [5, 5, 7, 8]])
    found = resized_crop(x, box.float(), (16, 12))
    for i, (top, left, height, width) in enumerate(box.tolist()):
        crop = x[i : i + 1, :, top : top + height, left : left + width]
        expected = F.interpolate(crop, (16, 12), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[i : i + 1], expected, rtol=0, atol=1e-5)


def test_boxes_of_crops_fill_their_ranges() -> None:
    n, height, width = 4000, 48, 32
    crop = RandomResizedCrop([0.1, 0.9], [0.5, 2.0])
    top, left, h, w = crop.boxes(torch.rand(n, 1, height, width), generator()).unbind(1)
    assert all(torch.equal(part, part.round()) for part in (top, left, h, w))
    assert min(top.min(), left.min()) == 0 and (h + top).max() == height and (w + left).max() == width
    area, ratio = h * w / (height * width), w / h
    assert (
        0.08 < area.min() < 0.13 and 0.8 < area.max() < 0.93 and 0.45 < ratio.min() < 0.55 and 1.7 < ratio.max() < 2.2
    )
    small = area < 0.2  # nearly all of these fit, so that they are as drawn
    assert abs(ratio[small].log().mean()) < 0.1 and abs(area[small].mean() - 0.15) < 0.005
    free = (height - h)[small]
    assert abs((top[small] / free).mean() - 0.5) < 0.02


def test_if_no_crop_fits_it_is_the_largest_in_the_centre() -> None:
    x = pictures(2, 1, 10, 40)
    (box, same) = RandomResizedCrop([1.0, 1.0], [0.5, 2.0]).boxes(x, generator())
    assert box.tolist() == same.tolist() == [0, 10, 10, 20]
    (box, _) = RandomResizedCrop([1.0, 1.0], [0.5, 2.0]).boxes(x.mT, generator())
    assert box.tolist() == [10, 0, 20, 10]


def test_a_crop_has_the_size_that_is_asked_for() -> None:
    x = pictures(3, 3, 20, 30)
    assert RandomResizedCrop(size=16)(x, generator()).shape == (3, 3, 16, 16)
    assert RandomResizedCrop(size=[8, 12], p=0.5)(x, generator()).shape == (3, 3, 8, 12)


def test_hue_turns_like_that_of_colorsys() -> None:
    x = pictures(8, 3, 4, 4)
    x[0] = x[0, :1]  # grey
    x[1, 1], x[2, 2], x[3, 0] = x[1, 0], x[2, 0], x[3, 1]  # two channels are equal
    x[4] = x[4].round()
    turns = torch.linspace(-0.5, 0.5, 8)
    found = turned(x, turns)
    for i, turn in enumerate(turns.tolist()):
        for row in range(4):
            for column in range(4):
                h, s, v = colorsys.rgb_to_hsv(*x[i, :, row, column].tolist())
                expected = torch.tensor(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
                torch.testing.assert_close(found[i, :, row, column], expected, rtol=0, atol=1e-5)


def test_factors_of_colours_have_their_ranges() -> None:
    """A constant grey picture shows the factor of its brightness."""
    x = torch.full((4000, 1, 2, 2), 0.5)
    found = ColourJitter(0.4, 0, 0, 0, p=1)(x, generator())[:, 0, 0, 0] / 0.5
    assert 0.6 <= found.min() < 0.61 and 1.39 < found.max() <= 1.4 and abs(found.mean() - 1) < 0.02
    found = ColourJitter(2.5, 0, 0, 0, p=1)(x, generator())  # at least 0
    assert found.min() >= 0 and found.max() == 1
    coloured = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(500, 3, 2, 2)
    red, green, blue = ColourJitter(0, 0, 0, 0.1, p=1)(coloured, generator())[:, :, 0, 0].unbind(1)
    hue = (green - blue) / 0.6 / 6
    assert torch.allclose(red, torch.tensor(0.8)) and -0.1 <= hue.min() < -0.095 and 0.095 < hue.max() <= 0.1


# Parameter for parameter as in kornia


def of_kornia(change: Any, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The result of a random transform of kornia's, and the parameters that it drew."""
    torch.manual_seed(0)
    return change(x), change._params


def test_crops_agree_with_kornia() -> None:
    x = pictures(16, 3, 32, 32)
    expected, drawn = of_kornia(K.RandomResizedCrop((32, 32), (0.08, 1.0), align_corners=False), x)
    corners = drawn["src"].float()  # of the first and the last pixel, [B, 4, 2], (x, y)
    first, last = corners[:, 0].flip(1), corners[:, 2].flip(1)
    box = torch.cat([first, last - first + 1], 1)
    torch.testing.assert_close(resized_crop(x, box, (32, 32)), expected, rtol=0, atol=1e-5)


def test_colours_agree_with_kornia() -> None:
    x = pictures(16, 3, 12, 12)
    expected, drawn = of_kornia(K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=1.0, order=(0, 1, 2, 3)), x)
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    torch.testing.assert_close(jittered(x, *(drawn[name] for name in names)), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(grey(x), kornia.color.rgb_to_grayscale(x), rtol=0, atol=1e-6)
    thresholds = torch.rand(16, generator=generator())
    expected = kornia.enhance.solarize(x, thresholds)
    torch.testing.assert_close(solarized(x, thresholds.view(-1, 1, 1, 1)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (9, 21)], ids=str)
def test_blur_agrees_with_kornia(size: tuple[int, int]) -> None:
    x, sigma = pictures(8, 3, *size), torch.linspace(0.1, 2, 8)
    for pixels in (3, 7):
        expected = kornia.filters.gaussian_blur2d(x, (pixels, pixels), torch.stack([sigma, sigma], 1), "reflect")
        torch.testing.assert_close(blurred(x, sigma, pixels), expected, rtol=0, atol=1e-5)


def test_a_flip_agrees_with_kornia() -> None:
    x = pictures(4, 3, 5, 8)
    assert torch.equal(HorizontalFlip(p=1)(x, generator()), kornia.geometry.hflip(x))


def test_affine_agrees_with_kornia() -> None:
    """kornia counts shifts in pixels, and from a centre at (side - 1) / 2."""
    x = pictures(8, 1, 14, 14)
    angle, scale = torch.linspace(-0.5, 0.5, 8), torch.linspace(0.8, 1.2, 8)
    shift, zero = torch.stack([torch.linspace(-0.1, 0.1, 8), torch.linspace(0.1, 0, 8)], 1), torch.zeros(8)
    centre = torch.full((8, 2), 6.5)
    matrix = kornia.geometry.get_affine_matrix2d(14 * shift, centre, torch.stack([scale, scale], 1), angle.rad2deg())
    expected = kornia.geometry.warp_affine(x, matrix[:, :2], (14, 14), align_corners=True)
    torch.testing.assert_close(affine(x, angle, zero, scale, shift), expected, rtol=0, atol=1e-4)


# Of other libraries


class OneForAll(nn.Module):
    """Draws from all global states, once a call, like torchvision's transforms."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(()) + random.random() + np.random.rand()).to(x.dtype) / 3


KORNIA = K.RandomPerspective(0.5, p=1.0)


@pytest.mark.parametrize("change", [Library(KORNIA), Library(OneForAll(), each=True)], ids=["kornia", "one for all"])
def test_noise_of_a_library_comes_from_the_generator_alone(change: Library) -> None:
    x = pictures(1, 3, 12, 12).expand(5, 3, 12, 12)
    states = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state()
    found = change(x, generator())
    assert random.getstate() == states[0] and np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    torch.rand(7), np.random.rand(), random.random()
    assert torch.equal(change(x, generator()), found) and not torch.equal(change(x, generator(1)), found)
    assert len(torch.unique(found.flatten(1), dim=0)) == 5, "each picture in its own way"
    one = generator()
    assert not torch.equal(change(x, one), change(x, one)), "the generator moves on"


def test_augmentations_do_not_import_the_compiler() -> None:
    """It takes seconds, and a decorator that keeps it away imports it."""
    code = "import sys, torch, frame.data.augment; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in its compiler
def test_compiled_views_leave_a_library_as_it_is() -> None:
    source = Views(Digits(), {"turn": Rotation(10), "perspective": pickle.loads(pickle.dumps(Library(KORNIA)))})
    augmented = Views(Digits(), {"turn": Rotation(10), "perspective": Library(KORNIA)}).split("train")
    rows = augmented.batch(torch.arange(8))
    expected = source.split("train").transform(rows, generator())["views"]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(augmented.transform, backend="eager", dynamic=False)
    for _ in range(3):
        for view, same in zip(compiled(rows, generator())["views"], expected, strict=True):
            assert torch.equal(view, same)
    assert not any("item" in why or "recompile" in why for why in torch._dynamo.utils.counters["graph_break"])


def test_views_of_a_library_resume_in_the_same_bits() -> None:
    source = Views(Digits(), {"perspective": Library(KORNIA)}).split("train")

    def third(resumed: bool) -> Tensor:
        loader = Loader(source, 100, seed=3)
        if resumed:
            torch.manual_seed(99)
            loader.load_state_dict({"epoch": 0, "position": 2})
        batches = iter(loader)
        views: Tensor = [next(batches) for _ in range(1 if resumed else 3)][-1]["views"][1]
        return views

    assert torch.equal(third(False), third(True))


def test_a_library_that_returns_something_else_is_one_line() -> None:
    x = pictures(4, 1, 8, 8)
    for change, each, match in (
        (lambda x: x[:2], False, r"<lambda> returns torch.float32 \[2, 1, 8, 8\], and must return floats \[4, ...\]"),
        (lambda x: (x, 1), False, "returns tuple"),
        (lambda x: (255 * x).byte(), True, "returns torch.uint8"),
    ):
        with pytest.raises(UserError, match=match):
            Library(change, each)(x, generator())
    with pytest.raises(UserError, match="change=3 cannot be called"):
        Library(3)  # type: ignore[arg-type]


def test_errors_name_the_argument() -> None:
    for make, match in (
        (lambda: RandomResizedCrop([0.5, 0.1]), r"scale=\[0.5, 0.1\]: give the smallest and the largest"),
        (lambda: RandomResizedCrop([0.5, 2]), "at most 1"),
        (lambda: RandomResizedCrop(ratio=[0, 1]), "ratio"),
        (lambda: RandomResizedCrop(size=[32]), r"size=\[32\]"),
        (lambda: RandomResizedCrop(size=0), "size=0"),
        (lambda: HorizontalFlip(1.2), "p=1.2: a probability"),
        (lambda: ColourJitter(brightness=-0.1), "brightness=-0.1"),
        (lambda: ColourJitter(hue=0.6), "hue=0.6"),
        (lambda: GaussianBlur(sigma=[0, 1]), "sigma"),
        (lambda: GaussianBlur(window=0), "window=0"),
        (lambda: Solarize(threshold=128), "threshold=128"),
        (lambda: Grayscale(float("nan")), "p=nan"),
    ):
        with pytest.raises(UserError, match=match):
            make()
    for change in (RandomResizedCrop(), HorizontalFlip(), ColourJitter(), GaussianBlur(), Solarize(), Grayscale()):
        with pytest.raises(UserError, match=rf"{type(change).__name__}.* needs pictures \[B, C, H, W\], not rows"):
            change(torch.rand(5, 64), generator())
    with pytest.raises(UserError, match="saturation or hue needs pictures of 3 channels, not 1"):
        ColourJitter()(torch.rand(5, 1, 8, 8), generator())
    with pytest.raises(UserError, match="Grayscale needs pictures of 3 channels"):
        Grayscale()(torch.rand(5, 1, 8, 8), generator())
    with pytest.raises(UserError, match="more than 1 pixels a side"):
        GaussianBlur()(torch.rand(5, 1, 1, 1), generator())


def test_rotation_is_affine_with_nothing_else() -> None:
    x = torch.rand(6, 1, 8, 8, generator=generator(1))
    assert torch.equal(Rotation(20)(x, generator()), Affine(20, 0, [1, 1], 0)(x, generator()))


def test_noise_has_its_spread() -> None:
    x = torch.full((1, 1, 100, 100), 0.5)
    assert Noise(0.05)(x, generator()).std().item() == pytest.approx(0.05, rel=0.05)
    assert torch.equal(Noise(0)(x, generator()), x)
    with pytest.raises(UserError, match="std=-1"):
        Noise(-1)


def test_shuffled_pixels_keep_their_channels_together() -> None:
    x = torch.arange(4 * 5 * 5.0).view(4, 1, 5, 5) / 100
    found = Shuffle()(torch.cat([x, x + 7], 1), generator())
    torch.testing.assert_close(found[:, 1], found[:, 0] + 7)
    torch.testing.assert_close(found[:, 0].flatten(1).sort(1).values, x.flatten(1))
    rows = torch.arange(12.0).view(2, 6)
    assert Shuffle()(rows, generator()).sort(1).values.tolist() == rows.tolist()
