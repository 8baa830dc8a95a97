"""Every model with every data set and two kinds of network: it trains, or one line says why not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from frame.architectures.convolutional import default_channels
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import options
from frame.data.base import DataSet
from frame.data.CIFAR10 import CIFAR10
from frame.data.MNIST import MNIST
from frame.data.sprites import Sprites
from frame.data.STL10 import STL10
from frame.engine.experiment import build, build_data, fit
from tests.models.test_every_model import model_class, no_files
from tests.slow import slow_but

MODELS = [
    name for name in options("model") if name != "Joint"
]  # Joint is made of other models, which an experiment names
DATA = options("data")
NETWORKS = ("mlp", "conv")
# data sets of few rows: settings that leave some for each split
FEW = {
    "MNIST": ["data.n_valid=16"],
    "FashionMNIST": ["data.n_valid=16"],
    "CIFAR10": ["data.n_valid=16"],
    "CIFAR100": ["data.n_valid=16"],
    "STL10": ["data.n_valid=16"],
    "views_natural": ["data.data.n_valid=16"],
    "views_grey": ["data.data.n_valid=16"],
    "CMNIST": ["data.n_valid=16"],
    "zip_MNIST": [
        "data.data.rows=16",
        *(f"data.beside.unlabelled.data.{key}" for key in ("skip=16", "data.n_valid=16")),
    ],
    "gaussians": ["data.n_rows=64", "data.n_held_out=16"],
    "sprites": ["data.n_valid=16", "data.n_test=16"],
    "images": ["data.size=16"],
    "table": ["data.train=sklearn:iris", "data.label=target"],
    "arrays": ["data.train=arrays.npz"],
    "npy": ["data.train=npy"],
    "arrow": ["data.train=pictures.parquet"],
    "series": ["data.train=series.npz"],
    "counts": ["data.train=counts.npz"],
    "huggingface": ["data.path=pictures.parquet", "data.size=16"],
}

ALIKE = ("CIFAR100", "STL10", "views_natural", "views_grey")  # only slow: they share their classes with others


@contextmanager
def few_rows() -> Iterator[None]:
    sizes = patch.object(Sprites, "factor_sizes", (3, 1, 1, 8, 8))
    few = [patch.object(kind, "n_train", 64) for kind in (MNIST, CIFAR10, STL10)]
    with no_files(), few[0], few[1], few[2], sizes:
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two classes, 16 x 16."""
    root = tmp_path_factory.mktemp("pictures")
    drawn = np.random.RandomState(0)
    for number in range(60):
        file = root / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.randint(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    np.savez(root / "arrays.npz", x=drawn.randint(0, 256, (60, 16, 16), dtype=np.uint8), y=np.arange(60) % 2)
    (root / "npy").mkdir()
    for name, values in np.load(root / "arrays.npz").items():
        np.save(root / "npy" / f"{name}.npy", values)
    np.savez(root / "series.npz", x=drawn.randn(60, 16, 2), y=np.arange(60) % 2)
    np.savez(root / "counts.npz", counts=drawn.poisson(3, (60, 12)), labels=np.arange(60) % 2)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [Image.fromarray(drawn.randint(0, 256, (16, 16, 3), dtype=np.uint8))] * 60, "label": [0, 1] * 30}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(root / "pictures.parquet")
    return root


def shrink(node: Any, n_halvings: int) -> None:
    """Makes networks as small as they get; `n_halvings` is the number of convolutions by default."""
    if not isinstance(node, DictConfig):
        return
    for key, value in node.items():
        if OmegaConf.is_list(value) and key in ("layers", "channels", "residual_channels"):
            node[key] = [8] * len(value)
        elif key == "channels" and value is None:
            node[key] = [8] * n_halvings
        else:
            shrink(value, n_halvings)


# networks that a model needs, whatever the data
ONLY = {"MAE": "vit_tiny"}


def words(model: str, data: str, networks: str, folder: Path) -> list[str]:
    typed = [f"model={model}", f"data={data}", f"architectures={networks}", *FEW.get(data, [])]
    # batches of 8 would leave one of the 1,297 digits alone, which methods that compare rows refuse
    typed += ["params.batch_size=10", "train_for=1 iterations", "cut_schedules=true", "logging=csv", "doctor=null"]
    return [*typed, "evaluations=auto", f"device.data_root={folder}", f"device.experiments_root={folder / 'runs'}"]


def why_not(model: str, networks: str, data: DataSet) -> str:
    """What the message must say if the two cannot be combined; '' if they can."""
    for key in model_class(model).needs:
        if key not in data.keys:
            return f"'{key}'"
    if model in ONLY:
        return ONLY[model]
    picture = len(data.shape) == 3
    return "" if picture or networks == "mlp" else "[channels, height, width]"


EVERY = [(model, data, networks) for model in MODELS for data in DATA for networks in NETWORKS]
# one of each kind; the others train on digits in many tests
KINDS = (
    "VAE",
    "AE",
    "BiGAN",
    "GAN",
    "Classifier",
    "VIB",
    "MIB",
    "SimCLR",
    "BYOL",
    "M2",
    "MAE",
    "IRM",
    "VQVAE",
    "FixMatch",
)
QUICK = [
    (model, data, networks)
    for model, data, networks in EVERY
    if (data == "digits" and networks == "mlp" and model in KINDS or model in ("VAE", "BiGAN") and data == "digits")
    or model == "VIB"
    and networks == "mlp"
    and data not in ALIKE
]


@pytest.mark.parametrize(("model", "data", "networks"), slow_but(QUICK, EVERY))
def test_a_combination_trains_and_is_evaluated_or_one_line_says_why_not(
    model: str, data: str, networks: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a training without a run leaves its checkpoint
    typed = words(model, data, networks, folder)
    with few_rows():
        try:
            config = compose(typed)
        except UserError as error:  # such as a model none of whose networks has convolutions
            assert f"architectures={networks}" in str(error) and "\n" not in str(error)
            return
        used = build_data(config)
        if reason := why_not(model, networks, used):
            with pytest.raises(UserError) as caught:
                build(config)
            assert reason in str(caught.value) and "\n" not in str(caught.value)
            return
        shrink(config.architectures, len(default_channels(used.shape)) if networks == "conv" else 0)
        experiment = build(config)
        assert fit(experiment, None) == 0
    assert experiment.optimization.counters["iterations"] == 1
    assert experiment.optimization.events or not experiment.callbacks, "no evaluation found a number"
