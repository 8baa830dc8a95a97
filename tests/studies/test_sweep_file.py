"""What a sweep file says: the promised one as it stands, grids, commands, and what is refused."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from frame.mistakes import Mistake
from frame.studies.sweep_file import load, parse, typed

CLONE = Path(__file__).parents[2]
GRID: dict[str, Any] = {"method": "grid", "parameters": {"params.beta": {"values": [1, 2]}}}


@pytest.mark.parametrize("name", ["VAE_MNIST.yml", "VAE_MNIST.yaml"])
def test_the_promised_file(name: str) -> None:
    sweep = load(CLONE / "sweeps" / name)
    assert sweep.method == "bayes" and sweep.metric == "ELBO/Validation" and sweep.maximize
    assert sweep.overrides({"params.beta": 0.5}) == [
        "+experiment=MNIST_VAE",
        "+trainer.max_epochs=10",
        "params.beta=0.5",
    ]
    assert sweep.parameters["params.beta"].at(0) == pytest.approx(math.exp(-20))


def test_a_grid_is_every_combination_and_grows_at_its_end_only_where_values_do() -> None:
    parameters = {"a": {"values": [1, 2]}, "b": {"min": 1, "max": 3}, "c": {"value": "x"}}
    points = list(parse({"method": "grid", "parameters": parameters}).points())
    assert points == [{"a": a, "b": b, "c": "x"} for a, b in itertools.product([1, 2], [1, 2, 3])]


def test_random_points_depend_on_their_number_alone() -> None:
    sweep = parse({"method": "random", "parameters": {"a": {"min": 0.0, "max": 1.0}, "b": {"distribution": "normal"}}})
    first = list(itertools.islice(sweep.points(), 5))
    assert list(itertools.islice(sweep.points(), 3)) == first[:3]
    assert len({point["a"] for point in first}) == 5
    assert list(itertools.islice(sweep.points(seed=1), 1)) != first[:1]


def test_variants_are_methods_with_their_settings() -> None:
    variants = {"vae": 'experiment=digits_VAE train_for="2 epochs"', "beta4": "experiment=digits_VAE params.beta=4"}
    sweep = parse({**GRID, "parameters": {"params.lr": {"values": [1, 2]}}, "variants": variants, "command": ["a=1"]})
    assert [point["variant"] for point in sweep.points()] == ["vae", "vae", "beta4", "beta4"]
    assert sweep.overrides({"variant": "vae", "params.lr": 1}) == [
        "a=1",
        "experiment=digits_VAE",
        "train_for=2 epochs",
        "params.lr=1",
    ]
    assert sweep.overrides({"variant": "beta4", "params.lr": 2})[2] == "params.beta=4"
    assert len(list(parse({"method": "grid", "variants": variants}).points())) == 2


def test_nested_parameters_are_dotted() -> None:
    nested = {"params": {"parameters": {"beta": {"value": 1}, "lr": {"value": 2}}}}
    assert list(parse({"method": "grid", "parameters": nested}).parameters) == ["params.beta", "params.lr"]


def test_the_command_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENGTH", "3 epochs")
    command = ["${env}", "${interpreter}", "${program}", "+experiment=a", "train_for=${envvar:LENGTH}", "${args}"]
    sweep = parse({**GRID, "command": command})
    assert sweep.overrides({"params.beta": 1}) == ["+experiment=a", "train_for=3 epochs", "params.beta=1"]
    added = parse({**GRID, "command": ["${args_append_hydra}"]})
    assert added.overrides({"params.beta": 1}) == ["+params.beta=1"]


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 1e-5, -2.5, "a", "two words", "it's", [1, [2, "b c"]], {"a": 1}, "${params.lr}", "a=b,c", ""],
)
def test_hydra_reads_what_is_typed(value: Any) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={typed(value)}"])
    assert override.value() == value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "grit"}, "no method 'grit': did you mean 'grid'?"),
        ({"method": None}, "no method 'None'"),
        ({"parameters": {}}, "parameters is missing"),
        ({"parameters": {"beta": 1}}, "beta: write what it may be, such as value: 1"),
        ({"parameters": {"beta": {"min": 0.0, "max": 1.0}}}, "beta: a grid needs values"),
        ({"paramters": {}}, "no key 'paramters': did you mean 'parameters'?"),
        ({"variants": ["a"]}, "variants: write a name and what is typed for each"),
        ({"variants": {"a b": "x=1"}}, "variants: 'a b' becomes a folder's name"),
        ({"variants": {"a": "digits_VAE"}}, "variants: a: write key=value, not 'digits_VAE'"),
        ({"method": "bayes"}, "method bayes needs metric"),
        ({"metric": {"name": "a", "goal": "max"}}, "metric: no goal 'max': did you mean 'maximize'?"),
        ({"run_cap": 0}, "run_cap=0: it must be at least 1"),
        ({"run_cap": "many"}, "run_cap=many has to be a number of runs"),
        ({"command": ["${arguments}"]}, ""),  # no macro of W&B's: a word like any other
        ({"command": ["${args_dict}"]}, "no macro 'args_dict'"),
        ({"metric": {"name": "a"}, "early_terminate": {"type": "median"}}, "early_terminate: no type 'median'"),
        ({"metric": {"name": "a"}, "early_terminate": {"type": "hyperband"}}, "it needs min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3}}, "early_terminate needs metric"),
    ],
)
def test_what_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(yaml.safe_dump({**GRID, **change}))
    if not said:
        load(file)
        return
    with pytest.raises(Mistake) as caught:
        load(file)
    assert said in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_not_there_or_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "beta.yml").write_text("a: [")
    with pytest.raises(Mistake, match="did you mean 'beta.yml'"):
        load(tmp_path / "betta.yml")
    with pytest.raises(Mistake, match="beta.yml: "):
        load(tmp_path / "beta.yml")
