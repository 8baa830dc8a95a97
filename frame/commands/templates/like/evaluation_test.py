"""A copy finds what its pattern finds, until it is changed."""

from pathlib import Path

from frame.composition.compose import chosen_evaluation, compose
from frame.composition.folders import use_own_folder
from frame.composition.instantiate import instantiate
from frame.engine.experiment import build
from frame.evaluation.base import evaluating

CONFIG = Path(__file__).parents[1] / "config"
EXPERIMENT = "digits_VAE"
MINE, PATTERN = "reconstruction_error", "reconstruction_error"
QUICK = ["logging=csv", "callbacks=null", "doctor=null"]


def found(option: str) -> dict[str, float]:
    """What it finds of the experiment's model before training."""
    use_own_folder(CONFIG)
    run = build(compose([f"experiment={EXPERIMENT}", *QUICK]))
    few = {f"{option}.n_samples": "300"} if "n_samples" in chosen_evaluation(option, {}) else {}
    evaluation = instantiate(chosen_evaluation(option, few), option)
    evaluation.check(run.model, run.data)
    with evaluating(run.model):
        entry = evaluation.evaluate(run.model, run.data)
    return {key: scalar.value for key, scalar in entry.scalars.items()}


def test_it_starts_as_the_pattern() -> None:
    """Delete this test, and write one of your own, when you change the class."""
    assert found(MINE) == found(PATTERN)
