"""Views: Affine against scipy and its own limits, dropped pixels, and the source of the noise."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

import frame
from frame.common.errors import UserError
from frame.composition import checks
from frame.composition.compose import compose
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.augment import Affine, Drop
from frame.data.base import DataSet, Seeded, Source, is_resident, whole_batch
from frame.data.digits import Digits
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample, PerSampleSplits
from frame.data.views import Views
from frame.engine.experiment import GIVEN
from tests.processes import train


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_pictures(n: int, height: int, width: int) -> Tensor:
    """Bumps that are black towards the border."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    centres = 0.3 * torch.randn(n, 2, 1, 1, generator=generator())
    return torch.exp(-8 * ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2)).unsqueeze(1)


def test_the_identity_changes_nothing() -> None:
    x = torch.rand(5, 3, 9, 14, generator=generator())
    torch.testing.assert_close(Affine(0, 0, [1, 1], 0)(x, generator()), x, rtol=0, atol=1e-5)
    assert torch.equal(Drop(0.0)(x, generator()), x) and Drop(1.0)(x, generator()).count_nonzero() == 0


def fixed(monkeypatch: pytest.MonkeyPatch, **parts: float) -> None:
    """Fixes the draws of `uniform` at these parts of their ranges, in the order in which Affine draws."""
    order = iter([parts["rotation"], parts["shear"], parts["scale"], parts["shift"]])

    def draw(n: int, low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.full((n,), low + (high - low) * next(order))

    monkeypatch.setattr("frame.data.augment.geometry.uniform", draw)


@pytest.mark.parametrize("size", [(28, 28), (20, 33)], ids=str)
@pytest.mark.parametrize(
    "parts",
    [
        {"rotation": 1.0, "shear": 0.5, "scale": 0.5, "shift": 0.5},
        {"rotation": 0.5, "shear": 0.0, "scale": 0.5, "shift": 0.5},
        {"rotation": 0.5, "shear": 0.5, "scale": 1.0, "shift": 0.5},
        {"rotation": 0.5, "shear": 0.5, "scale": 0.5, "shift": 1.0},
        {"rotation": 0.1, "shear": 0.9, "scale": 0.2, "shift": 0.8},
    ],
    ids=["rotation", "shear", "scale", "shift", "all"],
)
def test_affine_agrees_with_scipy_for_the_same_matrix(
    size: tuple[int, int], parts: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = size
    x = smooth_pictures(3, height, width)
    fixed(monkeypatch, **parts)
    ours = Affine(30, 0.1, [0.8, 1.2], 20)(x, generator())
    a, k = math.radians(30) * (2 * parts["rotation"] - 1), math.radians(20) * (2 * parts["shear"] - 1)
    s, t = 0.8 + 0.4 * parts["scale"], 0.1 * (2 * parts["shift"] - 1)
    # p' = s R(a) K(k) p + t with p = (x, y) in pixels from the centre
    rotation = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    forward = s * rotation @ np.array([[1, -math.tan(k)], [0, 1]])
    swap = np.array([[0, 1], [1, 0]])  # scipy counts (row, column)
    inverse = swap @ np.linalg.inv(forward) @ swap
    centre, moved = np.array([(height - 1) / 2, (width - 1) / 2]), t * np.array([height, width])
    for picture, expected in zip(ours[:, 0], x[:, 0], strict=True):
        theirs = ndimage.affine_transform(
            expected.numpy().astype(float), inverse, centre - inverse @ (centre + moved), order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(picture, theirs, atol=1e-4)


def test_draws_fill_their_ranges_and_differ_between_pictures() -> None:
    """The position of a dot right of the centre shows angle and scale; its mean shows the shift."""
    n, side = 400, 65
    x = torch.zeros(n, 1, side, side)
    x[:, 0, 32, 52] = 1  # 20 pixels to the right of the centre
    places = torch.stack(torch.meshgrid(torch.arange(side) - 32.0, torch.arange(side) - 32.0, indexing="ij"))

    def dots(augment: Affine) -> tuple[Tensor, Tensor]:
        weights = augment(x, generator())[:, 0]
        return ((weights * places[:, None]).sum((2, 3)) / weights.sum((1, 2))).unbind(0)

    down, right = dots(Affine(15, 0, [1, 1], 0))
    angles = torch.atan2(down, right) * 180 / math.pi
    assert angles.abs().max() < 15.6 and angles.max() > 14 and angles.min() < -14 and abs(angles.mean()) < 2
    down, right = dots(Affine(0, 0, [0.5, 1.5], 0))
    assert down.abs().max() < 1e-3 and 9.5 < right.min() < 11 and 29 < right.max() < 30.5
    down, right = dots(Affine(0, 0.1, [1, 1], 0))
    for shifts in (down, right - 20):
        assert shifts.abs().max() < 6.6 and shifts.max() > 6 and shifts.min() < -6
    assert abs(torch.corrcoef(torch.stack([down, right]))[0, 1]) < 0.2
    down, right = dots(Affine(0, 0, [1, 1], 15))
    assert down.abs().max() < 1e-3 and (right - 20).abs().max() < 1e-2  # a shear along x does not move the x axis


def test_drop_removes_its_share_of_whole_pixels() -> None:
    x = torch.rand(200, 3, 8, 8, generator=generator()) + 0.1
    left = Drop(0.2)(x, generator(1))
    kept = left != 0
    assert torch.equal(kept[:, 0], kept[:, 1]) and torch.equal(kept[:, 0], kept[:, 2])
    assert torch.equal(left[kept], x[kept])
    n = kept[:, 0].numel()
    assert abs(kept[:, 0].float().mean().item() - 0.8) < 5 * (0.16 / n) ** 0.5


def two_views(data: Any, n_views: int = 2, train_on_view: bool = False) -> Views:
    return Views(data, {"affine": Affine(15, 0.1, [0.9, 1.1], 15), "drop": Drop(0.2)}, n_views, train_on_view)


def test_views_are_added_to_the_batch() -> None:
    plain, data = Digits(), two_views(Digits(), n_views=3)
    assert (data.shape, data.n_classes, data.splits) == (plain.shape, plain.n_classes, plain.splits)
    assert data.keys == ("x", "y", "views")
    rows = torch.tensor([3, 1, 4, 1])
    for split in data.splits:
        assert len(data.split(split)) == len(plain.split(split))
        batch, clean = whole_batch(data.split(split), rows), whole_batch(plain.split(split), rows)
        assert set(batch) == {*data.keys, "index"} and len(batch["views"]) == 3
        for key in clean:
            assert torch.equal(batch[key], clean[key])
        seen = [batch["x"], *batch["views"]]
        assert all(view.shape == (4, 1, 8, 8) and 0 <= view.min() and view.max() <= 1 for view in seen)
        # other noise in each view, and for the same row twice in a batch
        assert not any(torch.equal(seen[i], seen[j]) for i in range(4) for j in range(i))
        assert not any(torch.equal(view[1], view[3]) for view in batch["views"])


def test_a_model_may_train_on_a_view_while_evaluations_see_the_picture() -> None:
    data, rows = two_views(Digits(), n_views=1, train_on_view=True), torch.arange(5)
    seen = data.training()
    assert is_resident(seen)
    for source in (seen, seen.to(torch.device("cpu"))):  # type: ignore[attr-defined]
        batch = whole_batch(source, rows)
        assert torch.equal(batch["x"], batch["views"][0])
    for split in data.splits:
        assert torch.equal(whole_batch(data.split(split), rows)["x"], whole_batch(Digits().split(split), rows)["x"])
    plain = two_views(Digits())
    assert plain.training() is plain.split("train")


def test_a_run_trains_on_the_view_if_the_data_say_so(tmp_path: Path) -> None:
    """A step on the view changes the weights differently from a step on the picture."""
    words = ["experiment=digits_VAE", "data=views", "seed=0", "callbacks=null", "logging=csv"]
    weights = []
    for on_view in (False, True):
        root = tmp_path / str(on_view)
        code, output = train(
            [*words, f"data.train_on_view={on_view}", "train_for=1 iteration", f"device.experiments_root={root}"],
            tmp_path,
        )
        assert code == 0, output
        (config,) = root.glob("*/*/config.yaml")
        weights.append(frame.load(config.parent, "model.encoder").state_dict()["backbone.hidden.0.weight"])
    assert not torch.equal(*weights)


def test_noise_comes_from_the_generator_and_the_loader_s_seed_reproduces_it() -> None:
    source = two_views(Digits(binarize="dynamic")).split("train")
    rows = torch.arange(20)
    torch.manual_seed(1)
    one = whole_batch(source, rows, seed=5)
    torch.manual_seed(2)
    same, other = whole_batch(source, rows, seed=5), whole_batch(source, rows, seed=6)
    for i in range(2):
        assert torch.equal(one["views"][i], same["views"][i])
        assert not torch.equal(one["views"][i], other["views"][i])

    def third_batch(resume: bool) -> dict[str, Any]:
        loader = Loader(source, 100, seed=3)
        if resume:
            loader.load_state_dict({"epoch": 0, "position": 2})
            return next(iter(loader))
        batches = iter(loader)
        return [next(batches) for _ in range(3)][-1]

    first, again = third_batch(False), third_batch(True)
    assert all(torch.equal(a, b) for a, b in zip(first["views"], again["views"], strict=True))


def test_a_source_in_memory_stays_in_memory_and_a_seeded_one_gets_its_epoch() -> None:
    resident = two_views(Digits()).split("train")
    assert is_resident(resident)
    there: Source = resident.to(torch.device("cpu"))  # type: ignore[attr-defined]
    rows = torch.arange(5)
    assert torch.equal(whole_batch(there, rows)["views"][1], whole_batch(resident, rows)["views"][1])

    class Noisy:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Tensor:
            return torch.rand(1, 4, 4)

    data = two_views({"train": Noisy()})
    assert data.splits == ("train", "valid") and data.keys == ("x", "views")
    source = data.split("train")
    assert isinstance(source, Seeded) and not is_resident(source)
    inner = PerSampleSplits({"train": Noisy()}).split("train")
    assert isinstance(inner, PerSample)
    for epoch in (0, 1):
        ours, theirs = source.at(7, epoch), inner.at(7, epoch)
        assert torch.equal(ours.batch(torch.arange(5))["x"], theirs.batch(torch.arange(5))["x"])
    with pytest.raises(UserError, match="the data has no split 'test'"):
        data.split("test")


class Count(nn.Module):
    def __init__(self, added: float) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return 10 * x + self.added


def test_augmentations_are_applied_in_their_order_without_those_that_are_null() -> None:
    class Rows(DataSet):
        def load(self, split: str) -> Source:
            return InMemory(torch.zeros(2, 3))

    batch = whole_batch(Views(Rows(), {"b": Count(1), "c": None, "a": Count(2)}).split("train"), torch.arange(2))
    assert batch["views"][1].unique().tolist() == [12] and batch["x"].count_nonzero() == 0


@pytest.mark.parametrize("words, inner", [([], "Digits"), (["data.data=MNIST"], "MNIST")])
def test_the_config_passes_the_check_and_builds(words: list[str], inner: str) -> None:
    more = ["data=views", "data.augmentations.drop.p=0.3", "data.n_views=4"]
    config = compose(["experiment=digits_VAE", *words, *more])
    plain = resolved(config)
    checks.check(plain, plain, GIVEN)
    data = instantiate(plain["data"])
    assert isinstance(data, Views) and type(data.data).__name__ == inner and data.n_views == 4
    affine, drop = data.augmentations
    assert isinstance(affine, Affine) and affine.scale == (0.9, 1.1) and affine.rotation == affine.shear
    assert isinstance(drop, Drop) and drop.p == 0.3


@pytest.mark.parametrize(
    "name, channels, inner", [("views_natural", 3, "CIFAR10"), ("views_grey", 1, "FashionMNIST")], ids=lambda v: str(v)
)
def test_lists_of_augmentations_go_with_any_data_of_their_kind(name: str, channels: int, inner: str) -> None:
    """Named on the command line or in an experiment, alone or around other data."""
    plain = resolved(compose(["experiment=digits_VAE", f"data={name}"]))
    checks.check(plain, plain, GIVEN)
    data = instantiate(plain["data"])
    assert isinstance(data, Views) and type(data.data).__name__ == inner
    x = torch.rand(6, channels, 20, 20)
    view = x
    for change in data.augmentations:
        view = change(view, generator())
    assert view.shape == x.shape and not torch.equal(view, x) and view.min() >= 0 and view.max() <= 1
    words = ["experiment=digits_VAE", f"data={name}", "data.data=MNIST", "data.augmentations.crop.scale=[0.2,1]"]
    config = resolved(compose(words))["data"]
    assert config["data"]["_target_"] == "frame.data.MNIST.MNIST" and config["augmentations"]["crop"]["scale"] == [
        0.2,
        1,
    ]


def test_errors_in_views() -> None:
    for wrong, match in (
        ({"rotation": -1}, "rotation=-1"),
        ({"shift": float("nan")}, "shift=nan"),
        ({"scale": [1.1, 0.9]}, r"scale=\[1.1, 0.9\]: give the smallest and the largest"),
        ({"scale": [0.9]}, "scale"),
        ({"shear": 90}, "below 90"),
    ):
        arguments: dict[str, Any] = {"rotation": 15, "shift": 0.1, "scale": [0.9, 1.1], "shear": 15}
        with pytest.raises(UserError, match=match):
            Affine(**{**arguments, **wrong})
    with pytest.raises(UserError, match="p=1.5"):
        Drop(1.5)
    with pytest.raises(UserError, match="n_views"):
        two_views(Digits(), n_views=0)
    with pytest.raises(UserError, match=r"needs pictures \[B, C, H, W\], not rows \[5, 64\]"):
        Affine(15, 0.1, [0.9, 1.1], 15)(torch.rand(5, 64), generator())
