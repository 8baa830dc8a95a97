"""Evaluates runs after their training: with other measures, on another split, from another checkpoint."""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from frame.common import faults, selection, trust
from frame.common.errors import UserError
from frame.common.inside import name_of
from frame.common.interrupts import Interrupted, Interrupts
from frame.common.output import say
from frame.common.shell import pasted
from frame.composition.evaluations import TITLES
from frame.composition.folders import OwnFolder, own_folder
from frame.composition.instantiate import named
from frame.composition.stored import literal
from frame.data.base import DataSet
from frame.data.identity import DataChanged
from frame.engine.objects import Objects
from frame.engine.opening import TRAINED, OpenRun, Trust, build_evaluation
from frame.engine.opening import open as open_run
from frame.engine.recording import Book, recordable
from frame.evaluation.base import Evaluation
from frame.evaluation.codes import caching
from frame.evaluation.floors import floors_of
from frame.evaluation.measured import measure
from frame.evaluation.similarity import Other, opening
from frame.runs.folder import RunFolder
from frame.runs.modules import Source
from frame.runs.notes import Busy, Notes, evaluating_alone, key_of
from frame.runs.origin import Origin

WAIT_SECONDS = 600.0  # to wait for another process that evaluates the same run, counted from its last record


class Outcome(NamedTuple):
    """The outcome for one run: the number of evaluations measured now, and why others could not be."""

    measured: int
    refused: dict[str, str]
    keys: tuple[str, ...] = ()  # of all evaluations that were asked for, in the notes of the run
    unrecorded: tuple[dict[str, Any], ...] = ()  # records, where the folder can only be read


@dataclass
class Evaluated:
    """The outcomes of several runs.

    Args:
        code: the exit code.
        outcomes: of the runs that could be evaluated, by folder.
        failed: why runs, or evaluations of a run, could not be.
    """

    code: int = 0
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def evaluate_runs(
    folders: Sequence[Path],
    *,
    chosen: Mapping[str, dict[str, Any]] | None = None,
    again: bool = False,
    own: Mapping[Path, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Evaluated:
    """Evaluates one run after the other and prints how long the rest will take.

    Runs that cannot be evaluated are listed at the end. After a signal, everything that was measured is recorded. Runs
    that follow one another on the same data read them once.

    Args:
        folders: the runs.
        chosen: evaluators by name, as `evaluate_run` takes them.
        again: repeat evaluations that are recorded already.
        own: options of single runs, by folder.
        options: as `evaluate_run` takes them.

    Raises:
        UserError: the only run cannot be evaluated.
    """
    found = Evaluated()
    failed = found.failed
    took: list[float] = []  # seconds of measured runs, without those that were already complete
    shared: dict[str, DataSet] = {}
    interrupted, number, n_runs = "", 0, len(folders)
    # runs that another process evaluates now are tried again at the end
    queue = [(folder, 0.0 if n_runs > 1 else WAIT_SECONDS) for folder in folders]
    try:  # around the whole loop, because Ctrl-C may come between two runs
        with Interrupts() as interrupts:
            for folder, patience in queue:
                if n_runs > 1:
                    number += patience == 0
                    print(f"[{number}/{n_runs}] {_left(took, n_runs - number + 1)}", end="", flush=True)
                started = time.monotonic()
                try:
                    given = {**options, **(own or {}).get(folder, {})}
                    with interrupts.counted():
                        outcome = evaluate_run(
                            folder, chosen=chosen, again=again, shared=shared, patience=patience, **given
                        )
                    found.outcomes[folder] = outcome
                    failed |= {f"{folder}: {name}": reason for name, reason in outcome.refused.items()}
                    took += [time.monotonic() - started] if outcome.measured else []
                except Exception as error:
                    if isinstance(error, Busy) and patience == 0:
                        print(f"{folder} is evaluated by another process now: tried again at the end", flush=True)
                        queue.append((folder, WAIT_SECONDS))
                        continue
                    if n_runs == 1:
                        raise
                    failed[str(folder)] = str(error)
                    print("not evaluated" if isinstance(error, UserError) else "failed", flush=True)
                    if not isinstance(error, UserError):
                        failed[str(folder)] = f"{type(error).__name__}: {error}".splitlines()[0]
                        faults.show(error)
    except KeyboardInterrupt as signalled:
        found.code = signalled.code if isinstance(signalled, Interrupted) else 130
        there = f"interrupted at run {number} of {len(folders)}" if len(folders) > 1 else "interrupted"
        interrupted = f"frame: {there}: what was measured is recorded, and the same command continues from there"
    for reason in dict.fromkeys(failed.values()):  # the runs of a study often fail for the same reason
        what, *others = [name for name, found in failed.items() if found == reason]
        were = f"and {len(others)} more were" if others else "was"
        print(f"frame: {what} {were} not evaluated: {reason}")
    if interrupted:
        print(f"\n{interrupted}", flush=True)
    else:
        found.code = 1 if failed else 0
    return found


def _left(took: Sequence[float], n_runs: int) -> str:
    """'about 3 min left: ', once two runs are measured; runs that are already complete take less."""
    if len(took) < 2:  # the first run reads the data for all
        return ""
    seconds = n_runs * statistics.median_low(took)
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"about {round(seconds / size)} {unit} left: "
    return f"about {max(1, round(seconds))} s left: "


def evaluate_run(
    folder: Path,
    *,
    chosen: Mapping[str, dict[str, Any]] | None = None,
    again: bool = False,
    evaluate_on: str | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
    packages: Sequence[str] = (),
    shared: dict[str, DataSet] | None = None,
    patience: float = WAIT_SECONDS,
    allow_test: bool = False,
    objects: Objects | None = None,
    source: str = TRAINED,
) -> Outcome:
    """Runs evaluations on a run, records what they find in the run's folder, and prints it.

    Returns the number of evaluations measured, and the reasons why others could not be.

    An evaluation with the same evaluator, split, checkpoint and weights is not repeated. Each evaluation is recorded
    when it is complete, so that an interrupted command continues where it stopped. The run's `cache/` keeps codes.

    Args:
        folder: the run.
        chosen: evaluators by name, each a `_target_` and its arguments; None takes those of the run's callbacks.
        again: repeat evaluations that are recorded already.
        evaluate_on: the split; None leaves each evaluation on its own.
        checkpoint: 'last' or 'best'.
        weights: 'average' or 'raw'; None takes what the run's config says.
        device: where the model is evaluated; 'auto': a GPU if there is one, as in training.
        packages: see `frame.open`.
        shared: the previous run's data, which are used if this run has the same, and replaced otherwise.
        patience: seconds to wait for another process that evaluates this run, counted from its last record.
        allow_test: let an evaluation fit something on test, such as a temperature; the run's config may allow it, too.
        objects: the parts of the run that are objects of Python.
        source: 'trained' or 'now', see `frame.open`.

    Raises:
        Busy: another process evaluates this run, and patience is 0.
        UserError: no run, no checkpoint, no evaluation, a split that the data does not have, none that the model and
            the data can serve, or data that are not those that the run was trained on.
    """
    notes = Notes(folder)
    before = len(notes.lines)
    seen = notes.opened(checkpoint)
    if (
        seen is not None and chosen and not again and source == TRAINED
    ):  # without reading the config, which takes most of the time
        identity = {"checkpoint": checkpoint, "iteration": seen[0], "weights": weights or seen[1]}
        wanted = dict(_on(evaluate_on, chosen))
        asked = tuple(_key(node, identity) for node in wanted.values())
        if all(key in notes.done() for key in asked):
            return _nothing_left(folder, identity, asked)
    stamp = notes.stamp(checkpoint)
    run = OpenRun(RunFolder.existing(folder), packages, device, weights, checkpoint, objects=objects, source=source)
    evaluators = dict(_on(evaluate_on, chosen if chosen is not None else _own(run)))
    if not evaluators:
        raise UserError(f"the config of {folder} names no evaluations: choose some, evaluation=[...]")
    iteration = int(run.state["counters"]["iterations"])
    with suppress(OSError):  # said below
        notes.note_opened(stamp, run.checkpoint, iteration, str(run.config.get("weights", "average")))
    identity = {"checkpoint": run.checkpoint, "iteration": iteration, "weights": run.weights}
    identity |= {"source": run.trust.origin.name} if run.trust.origin.name else {}
    keys = {name: _key(node, identity) for name, node in evaluators.items()}

    def waiting() -> None:
        print(f"{run.folder.path} is evaluated by another process: waiting for it", flush=True)

    with evaluating_alone(run.folder.path, patience, waiting if patience else lambda: None) as trouble:
        recordable(run.folder.path, trouble)
        notes.refresh()
        recorded = {} if trouble or again else {notes.next(key): (key, name) for name, key in keys.items()}
        for evaluation in recorded.keys() & run.folder.recorded():  # its process was killed before it wrote the note
            key, name = recorded[evaluation]
            with suppress(OSError):  # else it is measured again
                notes.add(key=key, name=name, **identity)
        # if another process has just measured them again, its numbers are taken
        done = notes.done(before if again else 0)
        left = {name: node for name, node in evaluators.items() if keys[name] not in done}
        if not left:
            return _nothing_left(run.folder.path, identity, tuple(keys.values()))
        n_done = len(evaluators) - len(left)
        skipped = f", {n_done} of {len(evaluators)} measured already" if n_done else ""
        print(f"{run.folder.path}, {run.checkpoint} checkpoint at iteration {iteration}{skipped}", flush=True)
        builds = run.trust if chosen is None else _trust_of_chosen(run.packages)
        evaluations = {name: build_evaluation(node, builds) for name, node in left.items()}
        if shared is not None:
            _share(run, shared)
        book = Book(run, notes, identity, keys, recorded=trouble is None)
        try:
            opener = _opener(packages, device) if chosen is not None else None  # a run's own config opens no other
            allowed = allow_test or bool(run.config.get(selection.ALLOW))
            with run.importing():
                outcome = _measure(run, evaluations, opener, book, len(evaluators), allowed)
            return outcome._replace(keys=tuple(keys.values()), unrecorded=tuple(book.unrecorded))
        finally:
            book.close()


def _trust_of_chosen(packages: tuple[str, ...]) -> Trust:
    """Chosen evaluations are the user's as they are now. Those of a trusted folder may name its modules."""
    folder = own_folder()
    if trust.read().how(os.path.realpath(folder)):
        return Trust(packages, Origin(str(folder), own=True, source=Source({}, folder, stays=True)))
    named = OwnFolder.folder is not None
    hint = f"it may be of {folder}: if you trust that folder, {pasted('frame', 'trust', folder)}"
    return Trust(packages, Origin(hint=hint if named else ""))


def _measure(
    run: OpenRun,
    evaluations: Mapping[str, Evaluation],
    opener: Callable[[str], Other] | None,
    book: Book,
    n_asked: int,
    allow_test: bool,
) -> Outcome:
    refused: dict[str, str] = {}
    for name, evaluation in evaluations.items():
        try:
            with opening(opener):
                evaluation.check(run.model, run.data_set)
            if note := selection.check_fit(name, evaluation.fits_on, allow_test):
                say(note)
        except DataChanged:
            raise
        except UserError as error:
            refused[name] = str(error)
    if refused and len(refused) == n_asked:
        raise UserError(next(iter(refused.values())))
    measured = 0
    build = run.objects.untrained(run.untrained)
    cache = run.folder.path / "cache"
    cache = cache / name_of(book.source) if book.source else cache
    with caching(cache), floors_of(build, int(run.config.seeds.init)):
        for name, evaluation in evaluations.items():
            if name in refused:
                continue
            try:
                with opening(opener):
                    found = measure(evaluation, name, run.model, run.data_set, book.at)
            except DataChanged:
                raise
            except UserError as error:  # such as collapsed codes: other evaluations may have a number
                refused[name] = str(error)
                continue
            trouble = book.write(found)
            if trouble:
                refused[name] = trouble
            measured += not trouble
            book.say(found)
    return Outcome(measured, refused)


def _own(run: OpenRun) -> dict[str, dict[str, Any]]:
    """The evaluators of the run's callbacks, by the names under which they were logged."""
    found: dict[str, dict[str, Any]] = {}
    for key, node in named(run.folder.stored.get("callbacks")):  # others may need files that this machine lacks
        if isinstance(node, dict) and isinstance(node.get("evaluator"), dict):
            found.setdefault(str(literal(node.get("name"))), run.folder.filled("callbacks", key, "evaluator"))
    return found


def _on(split: str | None, evaluators: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The evaluators on a split, named after it; some, such as samples, have no split."""
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


def _key(node: Mapping[str, Any], identity: dict[str, Any]) -> str:
    other = node.get("other")  # another run, which may be trained further
    beside = {"other": Notes(Path(other)).stamp("last")} if isinstance(other, str) else {}
    return key_of({"evaluator": node, **identity, **beside})


def _nothing_left(folder: Path, identity: dict[str, Any], keys: tuple[str, ...]) -> Outcome:
    n = len(keys)
    at = f"{identity['checkpoint']} checkpoint at iteration {identity['iteration']}"
    print(f"{folder}, {at}, {n} of {n} measured already", flush=True)
    return Outcome(0, {}, keys)


def _opener(packages: Sequence[str], device: str) -> Callable[[str], Other]:
    """Opens other runs, each once, at the last checkpoint and with the same trust. Their last two folders name them."""
    found: dict[str, Other] = {}

    def opened(folder: str) -> Other:
        if folder not in found:
            run = open_run(folder, packages=packages, device=device)
            name = "/".join(run.folder.path.resolve().parts[-2:])
            found[folder] = Other(run.model, run.data_set, name, int(run.state["counters"]["iterations"]))
        return found[folder]

    return opened


def _share(run: OpenRun, shared: dict[str, DataSet]) -> None:
    """Uses the previous run's data if the config asks for the same; only the last data are kept."""
    try:
        source = run.trust.origin.source
        where = run.trust.origin.folder if run.trust.origin.own else ""  # of its relative paths
        asked = [run.folder.filled("data"), source.digest if source is not None else "", where]
        key = json.dumps(asked, sort_keys=True, default=str)
    except UserError:  # a reference that cannot be filled in; building reports it
        return
    if key not in shared:
        built = run.data_set
        shared.clear()
        shared[key] = built
    run.data_set = run.of_this_run(shared[key])
