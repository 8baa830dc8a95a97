"""Finished runs, evaluated again: other measures, another split or checkpoint; nothing is trained."""

import hashlib
import json
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from frame.evaluation.base import evaluating
from frame.evaluation.codes import caching
from frame.experiment import named
from frame.loggers.files import FilesLogger
from frame.mistakes import Mistake
from frame.opening import Run, build_evaluation
from frame.opening import open as open_run

TITLES = {"train": "Train", "valid": "Validation", "test": "Test"}
DONE = "evaluated.jsonl"  # a line for each evaluation that was completed, so that it is not done twice


def evaluate_runs(
    folders: Sequence[Path], *, chosen: Mapping[str, dict[str, Any]] | None = None, again: bool = False, **options: Any
) -> int:
    """Evaluates one run after the other; a run that cannot be evaluated is named at the end. Returns the exit code.

    Args:
        folders: the runs.
        chosen: evaluators by name, as `evaluate_run` takes them.
        again: also what is there already.
        options: as `evaluate_run` takes them.

    Raises:
        Mistake: the only run cannot be evaluated.
    """
    failed: dict[str, str] = {}
    for number, folder in enumerate(folders, 1):
        if len(folders) > 1:
            print(f"[{number}/{len(folders)}] ", end="")
        try:
            refused = evaluate_run(folder, chosen=chosen, again=again, **options)
            failed |= {f"{folder}: {name}": reason for name, reason in refused.items()}
        except Exception as error:
            if len(folders) == 1:
                raise
            failed[str(folder)] = str(error)
            if not isinstance(error, Mistake):
                failed[str(folder)] = f"{type(error).__name__}: {error}".splitlines()[0]
                traceback.print_exc()
    for what, reason in failed.items():
        print(f"frame: {what} was not evaluated: {reason}")
    return 1 if failed else 0


def evaluate_run(
    folder: Path,
    *,
    chosen: Mapping[str, dict[str, Any]] | None = None,
    again: bool = False,
    evaluate_on: str | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "cpu",
    packages: Sequence[str] = (),
) -> dict[str, str]:
    """Runs evaluations on a run, records what they find in the run's folder, and prints it.

    Returns the evaluations that the model or the data cannot serve, with the reason, where others could be done.

    What was found for the same evaluator, split, checkpoint and weights is not measured again. Each evaluation is
    recorded when it is complete, so that an interrupted command goes on where it stopped. Codes are kept in the
    run's `cache/`.

    Args:
        folder: the run.
        chosen: evaluators by name, each a `_target_` and its arguments; None takes those of the run's callbacks.
        again: measure also what is there already.
        evaluate_on: the split; None leaves each evaluation on its own.
        checkpoint: 'last' or 'best'.
        weights: 'average' or 'raw'; None takes what the run's config says.
        device: where the model is evaluated.
        packages: see `frame.open`.

    Raises:
        Mistake: no run, no checkpoint, no evaluation, a split that the data does not have, or none that the model and
            the data can serve.
    """
    run = open_run(folder, packages=packages, device=device, weights=weights, checkpoint=checkpoint)
    checkpoint = run.checkpoint  # an export has one, whatever it is called
    evaluators = dict(_on(evaluate_on, chosen if chosen is not None else _own(run)))
    if not evaluators:
        raise Mistake(f"the config of {folder} names no evaluations: choose some, evaluation=[...]")
    state = run.folder.checkpoint(checkpoint)
    if state is None:
        raise Mistake(f"{folder} has no {checkpoint} checkpoint yet")
    iteration, seconds = int(state["counters"]["iterations"]), state["counters"]["seconds"]
    identity = {"checkpoint": checkpoint, "iteration": iteration, "weights": run.weights}
    keys = {name: _key({"evaluator": node, **identity}) for name, node in evaluators.items()}
    done = {} if again else _done(run)
    waiting = {name: node for name, node in evaluators.items() if keys[name] not in done}
    skipped = (
        f", {len(evaluators) - len(waiting)} of {len(evaluators)} there already" if len(waiting) < len(keys) else ""
    )
    print(f"{run.folder.path}, {checkpoint} checkpoint at iteration {iteration}{skipped}", flush=True)
    evaluations = {name: build_evaluation(OmegaConf.create(node), packages) for name, node in waiting.items()}
    refused: dict[str, str] = {}
    for name, evaluation in evaluations.items():
        try:
            evaluation.check(run.model, run.data_set)
        except Mistake as mistake:
            refused[name] = str(mistake)
    if refused and len(refused) == len(evaluators):
        raise Mistake(next(iter(refused.values())))
    files = FilesLogger(run.folder.path)
    with caching(run.folder.path / "cache"):
        for name, evaluation in evaluations.items():
            if name in refused:
                continue
            started = time.monotonic()
            try:
                with evaluating(run.model):
                    entry = evaluation.evaluate(run.model, run.data_set)
                entry.check()
            except Mistake as mistake:  # collapsed codes, too few rows: this one has no number, the others may
                refused[name] = str(mistake)
                continue
            took = time.monotonic() - started
            records = [{**r, "weights": run.weights} for r in entry.records(name, iteration, seconds, checkpoint, took)]
            run.folder.record(records)
            entry.write(files, name, iteration, {"seconds": seconds, "epochs": state["counters"]["epochs"]})
            with (run.folder.path / DONE).open("a") as stream:
                stream.write(json.dumps({"key": keys[name], "name": name, **identity, "took": round(took, 3)}) + "\n")
            for record in records:
                error = f" ± {record['standard_error']:.2g}" if record["standard_error"] is not None else ""
                print(
                    f"  {record['name']}  {record['value']:.5g}{error} {record['unit']}  ({record['split']})"
                    + _remarks(record)
                )
            if entry.images or entry.figures:
                print(f"  {name}  picture in {run.folder.path / 'images'}")
            print(f"    {took:.1f} s", flush=True)
    files.finalize("success")
    return refused


def _remarks(record: Mapping[str, Any]) -> str:
    """What an estimator says of its number: a bound, and whether it has reached its limit."""
    parts = str(record["estimator"]).split("; ")
    said = [part for part in parts if part in ("lower", "upper", "neither") or part.startswith("saturated")]
    return "".join(f", {part}" for part in said)


def _own(run: Run) -> dict[str, dict[str, Any]]:
    """The evaluators of the run's callbacks, by the names under which they were logged."""
    found: dict[str, dict[str, Any]] = {}
    for _, node in named(run.config.get("callbacks")):
        if "evaluator" in node:
            plain: Any = OmegaConf.to_container(node.evaluator, resolve=True)
            found.setdefault(str(node.name), plain)
    return found


def _on(split: str | None, evaluators: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The evaluators on a split, under the names of that split; some, such as samples, need none."""
    for name, node in evaluators.items():
        if split is not None and "evaluate_on" in node:
            yield retitled(name, split), {**node, "evaluate_on": split}
        elif "/" not in name and "evaluate_on" in node:  # chosen by its file's name
            yield retitled(name, node["evaluate_on"]), node
        else:
            yield name, node


def retitled(name: str, split: str) -> str:
    """'ELBO/Validation' on the split 'test' is 'ELBO/Test'."""
    stem, _, last = name.rpartition("/")
    title = TITLES.get(split, split)
    return f"{stem}/{title}" if stem and last in TITLES.values() else f"{name}/{title}"


def _key(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _done(run: Run) -> dict[str, str]:
    """Keys of what was completed before, with the names."""
    file = run.folder.path / DONE
    found = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            entry = json.loads(line)
            found[entry["key"]] = entry["name"]
        except (ValueError, KeyError):
            continue  # a line that a kill cut short
    return found
