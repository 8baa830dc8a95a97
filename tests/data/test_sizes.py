"""The sizes of data, which networks refer to, and how a run has them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.settings import references
from frame.composition.stored import resolved, with_sizes
from frame.data.base import DataSet, Source
from frame.data.concat import Concat
from frame.data.digits import Digits
from frame.data.few_labels import FewLabels
from frame.data.gaussians import Gaussians
from frame.data.map import Keep, Map, Rename
from frame.data.memory import InMemory
from frame.data.sizes import sizes_of
from frame.data.sprites import Sprites
from frame.data.take import Take
from frame.data.views import Views
from frame.data.zip import Zip
from frame.engine.experiment import build, build_data


class Rows(DataSet):
    """Rows of one array in every split."""

    def __init__(self, x: Any, y: Any = None, **columns: Any) -> None:
        super().__init__()
        self.source = InMemory(x, y, **columns)

    def load(self, split: str) -> Source:
        return self.source


class Halve(torch.nn.Module):
    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return x / 2


BYTES = np.zeros((5, 3, 4, 6), np.uint8)
SERIES = np.zeros((5, 2, 30), np.float32)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Digits(), {"x": [1, 8, 8], "n_classes": 10, "n_train": 1297, "levels": 17}),
        (Digits("dynamic"), {"levels": 2}),
        (Digits("static"), {"levels": 2}),
        (Gaussians(rho=0.5, dim=7, n_rows=50), {"x": [7], "n_classes": None, "n_train": 50, "levels": None}),
        (Rows(BYTES), {"x": [3, 4, 6], "n_classes": None, "n_train": 5, "levels": 256}),
        (Rows(SERIES, np.arange(5) % 2), {"x": [2, 30], "levels": None}),
        (FewLabels(Digits(), 2), {"x": [1, 8, 8], "n_train": 20, "n_unlabelled": 1277, "levels": 17}),
        (Take(Digits(), 9), {"x": [1, 8, 8], "n_classes": 10, "n_train": 9, "levels": 17}),
        (Map(Digits(), Keep(["x"])), {"n_classes": None, "levels": 17}),
        (Map(Digits(), Rename({"y": "z"})), {"n_classes": None, "levels": 17}),
        (Map(Digits(), lambda batch, generator: {**batch, "x": batch["x"] / 3}), {"levels": None}),
        (Views(Digits(), {"halve": Halve()}), {"levels": 17}),
        (Views(Digits(), {"halve": Halve()}, train_on_view=True), {"levels": None}),  # models train on halves
        (Concat([Digits(), Digits()]), {"n_train": 2594, "levels": 17}),
        (Zip(Digits(), {"more": Rows(SERIES)}, alike=False), {"x": [1, 8, 8], "levels": 17}),
        (Sprites("nowhere", official=False, n_valid=5, n_test=5), {"x": [1, 64, 64], "levels": 2}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DataSet) else "",
)
def test_sizes_are_those_of_the_rows(data: DataSet, expected: dict[str, Any]) -> None:
    found = sizes_of(data)
    assert {key: found[key] for key in expected} == expected
    assert yaml.safe_load(yaml.safe_dump(dict(found))) == found  # plain values


ENV = np.array([0, 2, 1, 0, 2])


@pytest.mark.parametrize(
    "data, expected",
    [
        (Rows(SERIES, env=ENV), 3),
        (Take(Rows(SERIES, env=ENV), 2), 3),  # of all rows, so that a model does not change with their number
        (Map(Rows(SERIES, env=ENV), lambda batch, generator: batch), 3),
        (Concat([Rows(SERIES, env=ENV), Rows(SERIES, env=ENV + 1)]), 4),
        (Views(Rows(BYTES, env=ENV), {"halve": Halve()}), 3),
        (Rows(SERIES), None),
        (Digits(), None),
    ],
)
def test_environments_are_counted(data: DataSet, expected: int | None) -> None:
    assert sizes_of(data)["n_envs"] == expected


def test_environments_count_from_0() -> None:
    with pytest.raises(UserError, match="'env' has -1: environments count from 0"):
        sizes_of(Rows(SERIES, env=ENV - 1))


def test_until_the_data_are_there_a_config_shows_the_references() -> None:
    config = compose(["model=BetaTCVAE", "data=digits"])
    assert config.architectures._get_node("encoder")._get_node("shape")._value() == "${sizes.x}"
    plain = resolved(config)
    assert "sizes" not in plain and plain["model"]["encoder"]["shape"] == "${sizes.x}"
    build_data(config)
    plain = resolved(config)
    assert plain["model"]["encoder"]["shape"] == [1, 8, 8] and plain["model"]["n_data"] == 1297
    assert plain["sizes"]["levels"] == 17 and not references(plain)


def test_a_reference_may_name_one_side() -> None:
    config = compose(["model=VAE", "data=digits", "architectures.encoder.layers=['${sizes.x[1]}','${sizes.x.2}']"])
    raw = resolved(config)
    assert raw["architectures"]["encoder"]["layers"] == ["${sizes.x[1]}", "${sizes.x.2}"]
    assert with_sizes(raw, sizes_of(Digits()))["model"]["encoder"]["layers"] == [8, 8]
    build_data(config)
    assert resolved(config)["model"]["encoder"]["layers"] == [8, 8]


def test_a_shorter_split_has_its_own_size() -> None:
    experiment = build(compose(["model=BetaTCVAE", "data=digits", "data_rows=64", "evaluations=null"]))
    assert experiment.plain["sizes"]["n_train"] == 64 == experiment.model.n_data


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["model=VIB", "data=gaussians"],
            "VIB needs 'y' in each batch; Gaussians has: index, views, x. Data sets with 'y': ",
        ),
        (["model=VAE", "data=gaussians", "architectures=conv"], "take pictures [channels, height, width]"),
        (
            ["model=VAE", "data=MNIST", "device.data_root=nowhere", "device.download_files=false"],
            "is missing in nowhere",
        ),
        (["model=VAE", "data=digits", "data.binarise=dynamic"], "no key 'data.binarise'"),
        (["model=VAE", "data=digits", "+sizes.x=[3]"], "no key 'sizes.x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_data_that_do_not_fit_are_one_line(words: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        build(compose(words))
    assert says in str(error.value) and "\n" not in str(error.value)
