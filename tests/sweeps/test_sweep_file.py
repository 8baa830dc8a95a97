"""Sweep files: the promised one unchanged, grids, commands, and errors."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame.common.errors import UserError
from frame.sweeps.sweep_file import SweepFile, load, parse

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


def test_a_grid_is_every_combination_and_new_values_are_appended() -> None:
    parameters = {"a": {"values": [1, 2]}, "b": {"min": 1, "max": 3}, "c": {"value": "x"}}
    points = list(parse({"method": "grid", "parameters": parameters}).points())
    assert points == [{"a": a, "b": b, "c": "x"} for a, b in itertools.product([1, 2], [1, 2, 3])]


def test_random_points_depend_only_on_their_number() -> None:
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
        ({"run_cap": "many"}, "run_cap=many must be a number of runs"),
        ({"command": ["${arguments}"]}, ""),  # not a macro of W&B's, but a plain word
        ({"command": ["${args_dict}"]}, "no macro 'args_dict'"),
        ({"metric": {"name": "a"}, "early_terminate": {"type": "median"}}, "early_terminate: no type 'median'"),
        ({"metric": {"name": "a"}, "early_terminate": {"type": "hyperband"}}, "it needs min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3}}, "early_terminate needs metric"),
    ],
)
def test_errors(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(yaml.safe_dump({**GRID, **change}))
    if not said:
        load(file)
        return
    with pytest.raises(UserError) as caught:
        load(file)
    assert said in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_files_that_are_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "beta.yml").write_text("a: [")
    with pytest.raises(UserError, match="did you mean 'beta.yml'"):
        load(tmp_path / "betta.yml")
    with pytest.raises(UserError, match="beta.yml: "):
        load(tmp_path / "beta.yml")


LARGE = {f"params.p{n}": {"values": [*range(10)]} for n in range(9)}


def test_a_grid_of_a_billion_points_is_counted_and_not_built() -> None:
    described = parse({"method": "grid", "parameters": LARGE})
    with pytest.raises(UserError, match="1,000,000,000 points.* run_cap="):
        described.check_size(1)
    SweepFile(**{**vars(described), "run_cap": 1000}).check_size(100)
    with pytest.raises(UserError, match="run_cap="):
        SweepFile(**{**vars(described), "run_cap": 1001}).check_size(100)
    assert next(described.points()) == dict.fromkeys(LARGE, 0)


def test_integers_of_a_wide_range_are_counted_and_not_listed() -> None:
    wide = parse({"method": "grid", "parameters": {"a": {"min": 1, "max": 10**12}}})
    with pytest.raises(UserError, match="1,000,000,000,000 points"):
        wide.check_size(1)
    drawn = parse({"method": "random", "parameters": {"a": {"min": 1, "max": 10**12}}})
    drawn.check_size(5)
    assert 1 <= drawn.point(10**6)["a"] <= 10**12
    assert drawn.point(3) == next(itertools.islice(drawn.points(), 3, None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("method: 3\nparameters: {a: {value: 1}}", "no method '3'"),
        ("method: [grid]\nparameters: {a: {value: 1}}", "no method"),
        ("method: grid\nparameters: []", "parameters is missing"),
        ("method: grid\nparameters: [1]", "parameters holds names"),
        ("method: grid\nparameters: 3", "parameters holds names"),
        ("method: grid\nparameters: {a: 3}", "write what it may be, such as value: 3"),
        ("method: grid\nparameters: {a: {parameters: 3}}", "parameters holds names"),
        ("method: grid\nparameters: {a: {values: 3}}", "values must be a list"),
        ("method: grid\nparameters: {a: {min: 0.5, max: x}}", "max='x' is not a number"),
        ("method: grid\nparameters: {a: {min: 0.5, max: .inf}}", "max=inf is not a number"),
        ("method: random\nparameters: {a: {min: true, max: 2.0}}", "min=True is not a number"),
        ("method: random\nparameters: {a: {min: -1.7e+308, max: 1.7e+308}}", "a: "),
        ("method: random\nparameters: {a: {distribution: q_uniform, min: 0, max: 1.0e+300, q: 1.0e-300}}", "a: q="),
        ("method: random\nmetric: x\nparameters: {a: {value: 1}}", "metric: x: write its name"),
        ("method: random\nmetric: {name: [a]}\nparameters: {a: {value: 1}}", "not a measurement's name"),
        ("method: random\nmetric: {name: a, target: b}\nparameters: {a: {value: 1}}", "target='b' is not a number"),
        ("method: random\nmetric: {nme: a}\nparameters: {a: {value: 1}}", "did you mean 'name'"),
        ("method: random\ncommand: 3\nparameters: {a: {value: 1}}", "write a list of words"),
        ("method: random\ncommand: train.py\nparameters: {a: {value: 1}}", "write a list of words"),
        ("method: random\ncommand: [{a: b}]\nparameters: {a: {value: 1}}", "write a list of words"),
        ('method: random\ncommand: ["a \'b"]\nparameters: {a: {value: 1}}', "No closing quotation"),
        ("method: random\nprogram: [a]\nparameters: {a: {value: 1}}", "is not a file's name"),
        ("method: random\nrun_cap: '3'\nparameters: {a: {value: 1}}", "a number of runs"),
        ("method: random\nvariants: [a]\nparameters: {a: {value: 1}}", "variants: write a name"),
        ("method: random\nearly_terminate: x\nparameters: {a: {value: 1}}", "early_terminate: x"),
        (
            "method: random\nmetric: {name: a}\nearly_terminate: {type: hyperband, min_iter: x}\n"
            "parameters: {a: {value: 1}}",
            "min_iter='x' is not a number",
        ),
        ("method: grid\nmethod: random\nparameters: {a: {value: 1}}", "line 2: the key method occurs twice"),
        ("method: grid\n\tparameters: 3", "line 2: a tab"),
        ("a: &a [*a]", "contains its own alias"),
    ],
)
def test_a_sweep_file_of_wrong_types_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "f.yml").write_text(text)
    with pytest.raises(UserError) as error:
        load(tmp_path / "f.yml")
    assert says in str(error.value) and "\n" not in str(error.value) and "f.yml" in str(error.value)


def test_no_command_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "f.yml").write_text("method: random\ncommand: null\nparameters: {a: {value: 1}}")
    assert load(tmp_path / "f.yml").words == ()
