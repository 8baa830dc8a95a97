"""Which file of each group is read: typed, named by the experiment, or suggested by the model. No class is imported."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import use_own_folder

FILES = {
    "model/Plain": """# @package _global_
params: {z_dim: 4, weight: 1.0}
model:
  _target_: own.Plain
  encoder: ${architectures.front}
  head: ${architectures.back}
  weight: ${params.weight}
suggests: {architectures/front: mlp, architectures/back: narrow, optimization: slow}
""",
    "model/Other": """# @package _global_
params: {z_dim: 6, weight: 2.0, more: 5}
model: {_target_: own.Other, encoder: "${architectures.front}", weight: "${params.weight}", more: "${params.more}"}
suggests: {architectures/front: wide_mlp, optimization: fast}
""",
    "model/Bare": '_target_: own.Bare\nencoder: "${architectures.front}"\n',
    "architectures/front/mlp": '_target_: own.MLP\nz_dim: "${params.z_dim}"\nlayers: [8]\nstart: a\n',
    "architectures/front/wide_mlp": '_target_: own.MLP\nz_dim: "${params.z_dim}"\nlayers: [80]\nstart: a\n',
    "architectures/front/conv": '_target_: own.Conv\nz_dim: "${params.z_dim}"\nchannels: [2]\n',
    "architectures/front/wide_conv": '_target_: own.Conv\nz_dim: "${params.z_dim}"\nchannels: [20]\n',
    "architectures/back/narrow": "_target_: own.Narrow\nwidth: 1\n",
    "architectures/back/conv": "_target_: own.BackConv\nwidth: 2\n",
    "optimization/slow": """# @package _global_
params: {lr: 0.1}
optimization: {_target_: own.Slow, lr: "${params.lr}"}
""",
    "optimization/fast": """# @package _global_
params: {lr: 0.9}
optimization: {_target_: own.Fast, lr: "${params.lr}"}
""",
    "data/rows": "_target_: own.Rows\nn: 3\n",
    "data/columns": "_target_: own.Columns\nn: 7\n",
    "data/twice": "defaults:\n  - /data@data: rows\n  - _self_\n\n_target_: own.Twice\n",
    "model/Gentle": "defaults: [Plain, _self_]\n_target_: own.Gentle\n",
    "architectures/front/deep": "defaults: [mlp, _self_]\n_target_: own.Deep\nlayers: [8, 8]\n",
    "experiment/gentle": "# @package _global_\ndefaults: [first, override /model: Gentle]\n",
    "experiment/first": """# @package _global_
defaults:
  - /model: Plain
  - /data: rows
data: {n: 30}
architectures: {front: {layers: "${params.layers}"}}
params: {weight: 3.0, layers: [9], z_dim: 5}
""",
    "experiment/second": """# @package _global_
defaults:
  - first
  - _self_
architectures: {front: {start: b}}
""",
    "experiment/third": """# @package _global_
defaults:
  - first
  - override /model: Other
  - _self_
params: {more: 50}
""",
    "experiment/spelled": """# @package _global_
defaults:
  - /model: Plain
  - /data: rows
  - /optimization: slow
architectures:
  front: {_target_: own.Mine, size: 1}
  back: {_target_: own.Back, z_dim: 1}
""",
    "experiment/pairs": """# @package _global_
defaults:
  - /model: Plain
  - /data: twice
data: {data: {n: 31}}
""",
}


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "config" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.chdir(tmp_path)
    use_own_folder(tmp_path / "config")
    return tmp_path / "config"


def plain(config: DictConfig, key: str) -> Any:
    found = OmegaConf.select(config, key)
    return OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else found


MLP = {"_target_": "own.MLP", "z_dim": "${params.z_dim}", "layers": [8], "start": "a"}
CONV = {"_target_": "own.Conv", "z_dim": "${params.z_dim}", "channels": [2]}


def test_a_model_brings_its_networks_its_coefficients_and_its_optimization() -> None:
    config = compose(["model=Plain", "data=rows"])
    assert plain(config, "architectures") == {"front": MLP, "back": {"_target_": "own.Narrow", "width": 1}}
    assert plain(config, "params") == {"z_dim": 4, "weight": 1.0, "lr": 0.1} and config.optimization.lr == 0.1
    assert "suggests" not in config
    assert compose(["data=rows", "model=Plain", "params.weight=7"]).model.weight == 7


def test_a_model_that_suggests_nothing_takes_the_usual_options() -> None:
    config = compose(["model=Bare", "data=rows"])
    assert plain(config, "architectures") == {"front": MLP}
    assert config.optimization._target_ == "frame.optimization.batch.BatchOptimization"


def test_an_experiment_states_only_what_it_changes() -> None:
    config = compose(["experiment=first"])
    assert plain(config, "architectures.front") == {**MLP, "layers": "${params.layers}"}
    assert plain(config, "params") == {"z_dim": 5, "weight": 3.0, "lr": 0.1, "layers": [9]} and config.data.n == 30
    assert plain(compose(["experiment=second"]), "architectures.front") == {
        **MLP,
        "layers": "${params.layers}",
        "start": "b",
    }


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("experiment", ["first", "second"])
def test_a_typed_choice_wins_over_the_experiments_values_in_any_order(experiment: str, order: int) -> None:
    config = compose([f"experiment={experiment}", "architectures/front=conv", "data=columns"][::order])
    assert plain(config, "architectures.front") == CONV and plain(config, "data") == {"_target_": "own.Columns", "n": 7}
    assert "layers" not in config.params and config.params.weight == 3.0  # only the MLP read the widths


@pytest.mark.parametrize("words", [["architectures/front=mlp"], ["data=rows"], ["model=Plain"], ["optimization=slow"]])
def test_the_choice_that_the_experiment_makes_changes_nothing(words: list[str]) -> None:
    assert compose(["experiment=second", *words]) == compose(["experiment=second"])


def test_values_that_are_typed_beside_a_choice_hold_for_it() -> None:
    config = compose(["architectures.front.channels=[4]", "experiment=first", "architectures/front=conv", "data.n=1"])
    assert plain(config, "architectures.front") == {**CONV, "channels": [4]} and config.data.n == 1


@pytest.mark.parametrize("words", [["experiment=first", "model=Other"], ["experiment=third"]])
def test_another_model_has_its_own_coefficients_networks_and_optimization(words: list[str]) -> None:
    config = compose(words)
    assert config.model._target_ == "own.Other" and config.params.weight == 2.0  # not the experiment's for Plain
    assert config.params.z_dim == 5  # no coefficient
    assert plain(config, "architectures") == {"front": {**MLP, "layers": [80]}}  # Plain's network is gone
    assert config.optimization._target_ == "own.Fast" and config.params.more == (5 if len(words) > 1 else 50)


def test_an_experiment_that_spells_its_networks_out_lets_them_be_exchanged_too() -> None:
    config = compose(["experiment=spelled"])
    assert plain(config, "architectures.front") == {"_target_": "own.Mine", "size": 1} and "z_dim" not in config.params
    for words in (["architectures/front=conv"], ["architectures=conv", "architectures/back=narrow"]):
        found = compose(["experiment=spelled", *words])
        assert plain(found, "architectures.front") == CONV
    assert plain(compose(["experiment=spelled", "model=Other"]), "architectures.front._target_") == "own.Mine"
    assert compose(["experiment=spelled", "model=Other"]).optimization._target_ == "own.Fast"


def test_a_file_that_inherits_from_another_of_its_group_keeps_the_rest() -> None:
    alone = compose(["model=Gentle", "data=rows"])
    assert alone.model._target_ == "own.Gentle" and alone.params.weight == 1.0
    assert plain(alone, "architectures.front") == MLP and alone.optimization.lr == 0.1
    for words in (["experiment=gentle"], ["experiment=first", "model=Gentle"]):
        config = compose(words)
        assert config.model._target_ == "own.Gentle" and config.params.weight == 3.0  # Plain's coefficient
        assert plain(config, "architectures.front") == {**MLP, "layers": "${params.layers}"}
    deep = compose(["model=Plain", "data=rows", "architectures/front=deep"])
    assert plain(deep, "architectures.front") == {**MLP, "_target_": "own.Deep", "layers": [8, 8]}


def test_one_word_chooses_all_networks_that_have_the_option() -> None:
    both = compose(["model=Plain", "data=rows", "architectures=conv"])
    assert plain(both, "architectures.front") == CONV and both.architectures.back._target_ == "own.BackConv"
    one = compose(["architectures/back=narrow", "model=Plain", "data=rows", "architectures=conv"])
    assert plain(one, "architectures.front") == CONV and one.architectures.back._target_ == "own.Narrow"
    kept = compose(["experiment=first", "architectures=mlp"])  # `back` has none, and keeps its own
    assert kept == compose(["experiment=first"])
    kind = compose(["experiment=first", "architectures=conv", "model=Other"])  # the wide one stays wide
    assert kind.architectures.front.channels == [20]


def test_data_inside_data_are_a_choice_of_their_own() -> None:
    config = compose(["experiment=pairs"])
    assert plain(config, "data") == {"_target_": "own.Twice", "data": {"_target_": "own.Rows", "n": 31}}
    config = compose(["data.data=columns", "experiment=pairs"])
    assert plain(config, "data.data") == {"_target_": "own.Columns", "n": 7}
    assert compose(["model=Plain", "data=twice", "data.data=columns"]).data.data.n == 7
    words = ["model=Plain", "data=twice", "data.data=twice", "data.data.data=columns"]
    assert compose(words).data.data.data.n == 7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["experiment=first", "architectures/side=mlp"], "Plain has no such network: no network 'side'. There are: "),
        (["model=Other", "data=rows", "architectures/back=narrow"], "Other has no such network: no network 'back'"),
        (["experiment=first", "architectures/front=conv", "architectures/front=mlp"], "choose one of them"),
        (["model=Plain", "model=Other", "data=rows"], "model=Plain and model=Other: choose one of them"),
        (["model=Plain", "data=rows", "architectures=mlpp"], "no network 'mlpp': did you mean 'mlp'"),
        (["data=rows", "architectures=conv"], "add model="),
        (["experiment=first", "architectures/front=cnov"], "no architectures/front 'cnov': did you mean 'conv'"),
        (["model=Plain", "data=rows", "params.wieght=2"], "no key 'params.wieght': did you mean 'params.weight'"),
        (["model=Plain", "data=rows", "data.data=columns"], "data.data=columns: the data are not made of other data"),
        (["model=Plain", "data=twice", "data.data=colums"], "no data 'colums': did you mean 'columns'"),
        (["model=Plain", "data=twice", "data.data=twice", "data.data.data=rwos"], "no data 'rwos': did you mean"),
        (["experiment=first", "architectures.front.channels=[4]"], "architectures.front.channels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_of_a_choice_are_one_line(words: list[str], says: str) -> None:
    with pytest.raises(UserError) as error:
        compose(words)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("words", [["data=mine.csv"], ["data=twice", "data.data=mine.csv"]])
def test_a_file_in_the_place_of_data_is_told_the_command_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "mine.csv").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^no data 'mine\.csv', which is a file or folder: `frame try mine\.csv`"):
        compose(["model=Plain", *words])
