"""Names of measurements are columns and folders, so they must be unique and differ from the columns of every run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from frame.common.errors import UserError
from frame.composition.folders import config_folder
from frame.runs.names import Taken, apart, check_column, check_config, check_measurement
from tests.processes import only_run, train

GOOD = ["ELBO/Validation", "I(x)", "top 5", "Größe/Test", "a.b-c+d", "10 %", "(k)", "x" * 200]
RESERVED = ["iteration", "seconds", "epochs", "Iteration", "EPOCHS", "_step", "_runtime"]
LISTED = ["run", "state", "model", "data", "seed", "flops", "Parameters", "params.beta"]
WRONG: list[Any] = [
    "",
    " ",
    "a\nb",
    "a\tb",
    "a,b",
    'a"b',
    "a'b",
    ".hidden",
    "../x",
    "a/../b",
    "/a",
    "a/",
    "a//b",
    "a\\b",
]
WRONG += [
    "x" * 201,
    "ü" * 101,
    "a@5",
    "a=b",
    "a<b",
    " a",
    "a ",
    "a/ b",
    "\x1b[31m",
    "\u202eabc",
    None,
    3,
    "a:b\r",
    "~/a/.b",
]


@pytest.mark.parametrize("name", GOOD)
def test_usual_names_pass(name: str) -> None:
    check_measurement(name, "here")


@pytest.mark.parametrize("name", [*RESERVED, *LISTED, *WRONG])
def test_others_are_refused_in_one_line(name: Any) -> None:
    with pytest.raises(UserError, match=r"^callbacks\.a\.name") as refused:
        check_config({"callbacks": {"a": {"evaluator": {}, "name": name}}})
    assert "\n" not in str(refused.value) and str(refused.value).isprintable()


@pytest.mark.parametrize("name", [*RESERVED, "", "a\nb", "x" * 201, "\x07"])
def test_losses_may_not_be_called_like_a_column(name: str) -> None:
    with pytest.raises(UserError):
        check_column(name, "a loss")
    check_column("D, real", "a loss")


SAME = [
    ("A", "A"),
    ("A/B", "A_B"),
    ("ELBO/Test", "elbo/test"),
    ("a b", "a_b"),
    ("u\u0308", "\u00fc"),
    ("Straße", "STRASSE"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_names_that_some_systems_do_not_distinguish_are_refused(one: str, other: str) -> None:
    nodes = [{"evaluator": {}, "name": name} for name in (one, "between", other)]
    with pytest.raises(UserError, match=r"callbacks.2 and callbacks.0 both log"):
        check_config({"callbacks": nodes})
    check_config({"callbacks": nodes[1:]})


def test_two_windows_of_one_kind_are_refused() -> None:
    node = {"_target_": "frame.loggers.tensorboard.TensorBoardLogger"}
    with pytest.raises(UserError, match="logging.a and logging.b"):
        check_config({"logging": {"a": node, "b": dict(node)}})
    check_config({"logging": {"a": node, "b": {"_target_": "my.Logger"}, "c": {"_target_": "my.Logger"}, "d": None}})


def test_an_owner_may_repeat_itself_and_another_may_not() -> None:
    taken = Taken()
    taken.add(["loss", "rate", "loss"], "the losses")
    taken.add(["ELBO", "ELBO/rate"], "ELBO")
    with pytest.raises(UserError, match="evaluation and the losses both log 'rate'"):
        taken.add(["rate"], "evaluation")
    assert apart("rate", {"rate", "loss/rate"}) == "loss/loss/rate" and apart("a", ()) == "a"


def test_shipped_experiments_pass() -> None:
    for file in (config_folder() / "experiment").glob("*.yaml"):
        config: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        check_config({"callbacks": config.get("callbacks")})


# Real trainings

TINY = ["experiment=tiny", "logging=csv", "doctor=null", "train_for=5 iterations"]


@pytest.mark.parametrize(
    "word", ["callbacks.elbo_valid.name=iteration", "callbacks.elbo_valid.name=rate", "callbacks.elbo_valid.name=lr"]
)
def test_a_training_with_such_a_name_does_not_start(word: str, tmp_path: Path) -> None:
    code, output = train([*TINY, word], tmp_path)
    assert code == 2 and len(output.strip().splitlines()) == 1, output
    assert "elbo_valid" in output or "evaluation 'rate" in output or "evaluation 'lr" in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["iteration", "seconds", "lr"])
def test_a_models_losses_cannot_take_a_column(name: str, tmp_path: Path) -> None:
    code, output = train([*TINY, f"+model.extra={name}", "model._target_=toys.Named"], tmp_path)
    assert code == 2 and f"'{name}'" in output and len(output.strip().splitlines()) == 1, output


def test_a_loss_that_appears_late_cannot_take_a_column(tmp_path: Path) -> None:
    words = ["+model.extra=iteration", "+model.after=3", "model._target_=toys.Named", "trainer.log_every_n_steps=1"]
    code, output = train([*TINY, *words], tmp_path)
    assert code == 0, output
    table = pd.read_csv(only_run(tmp_path) / "metrics.csv")
    assert table["iteration"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table["loss/iteration"].dropna().tolist() == [7.0, 7.0]
