"""A run's own evaluations, again: on another split, from another checkpoint; nothing is trained."""

import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from frame.evaluation.base import evaluating
from frame.experiment import named
from frame.loggers.files import FilesLogger
from frame.mistakes import Mistake
from frame.opening import build_evaluation
from frame.opening import open as open_run

TITLES = {"train": "Train", "valid": "Validation", "test": "Test"}


def evaluate_run(
    folder: Path,
    *,
    evaluate_on: str | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "cpu",
    packages: Sequence[str] = (),
) -> None:
    """Runs the evaluations of the run's callbacks, records what they find in the run's folder, and prints it.

    Args:
        folder: the run.
        evaluate_on: the split; None leaves each evaluation on its own.
        checkpoint: 'last' or 'best'.
        weights: 'average' or 'raw'; None takes what the run's config says.
        device: where the model is evaluated.
        packages: see `frame.open`.

    Raises:
        Mistake: no run, no checkpoint, no evaluation, or a split that the data does not have.
    """
    run = open_run(folder, packages=packages, device=device, weights=weights, checkpoint=checkpoint)
    evaluators: dict[str, DictConfig] = {}
    for _, node in named(run.config.get("callbacks")):
        if "evaluator" in node:
            name, evaluator = str(node.name), node.evaluator
            if evaluate_on is not None and "evaluate_on" in evaluator:  # samples need no split
                name, evaluator = retitled(name, evaluate_on), _on(evaluator, evaluate_on)
            evaluators.setdefault(name, evaluator)
    if not evaluators:
        raise Mistake(f"the config of {folder} names no evaluations")
    state = run.folder.checkpoint(checkpoint)
    if state is None:
        raise Mistake(f"{folder} has no {checkpoint} checkpoint yet")
    iteration, seconds = int(state["counters"]["iterations"]), state["counters"]["seconds"]
    files = FilesLogger(run.folder.path)
    evaluations = {name: build_evaluation(node, packages) for name, node in evaluators.items()}
    for evaluation in evaluations.values():
        evaluation.check(run.model, run.data_set)
    print(f"{run.folder.path}, {checkpoint} checkpoint at iteration {iteration}")
    for name, evaluation in evaluations.items():
        started = time.monotonic()
        with evaluating(run.model):
            entry = evaluation.evaluate(run.model, run.data_set)
        records = entry.records(name, iteration, seconds, checkpoint)
        run.folder.record(records)
        entry.write(files, name, iteration, {"seconds": seconds, "epochs": state["counters"]["epochs"]})
        for record in records:
            error = f" ± {record['standard_error']:.2g}" if record["standard_error"] is not None else ""
            print(f"  {record['name']}  {record['value']:.5g}{error} {record['unit']}  ({record['split']})")
        if not records:
            print(f"  {name}  picture in {run.folder.path / 'images'}")
        print(f"    {time.monotonic() - started:.1f} s", flush=True)
    files.finalize("success")


def retitled(name: str, split: str) -> str:
    """'ELBO/Validation' on the split 'test' is 'ELBO/Test'."""
    stem, _, last = name.rpartition("/")
    return (
        f"{stem}/{TITLES.get(split, split)}"
        if stem and last in TITLES.values()
        else f"{name}/{TITLES.get(split, split)}"
    )


def _on(evaluator: DictConfig, split: str) -> DictConfig:
    with open_dict(evaluator):
        evaluator.evaluate_on = split
    return evaluator
