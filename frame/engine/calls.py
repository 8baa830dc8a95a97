"""What Python calls: `frame.train` and `frame.evaluate`, the same paths that the commands take."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame.common.errors import UserError, choices
from frame.common.interrupts import Interrupted, Stopped
from frame.composition.checks import targets
from frame.composition.compose import chosen_evaluation
from frame.composition.folders import use_own_folder
from frame.composition.session import unchanged
from frame.composition.words import typed, words_of
from frame.engine import experiment
from frame.engine.objects import Objects, procedure
from frame.engine.opening import OpenRun
from frame.engine.reevaluate import Outcome, evaluate_runs
from frame.engine.start import start
from frame.runs.folder import RunFolder
from frame.runs.listing import beside, find, places_of
from frame.runs.notes import Notes
from frame.runs.summary import RunSummary

if TYPE_CHECKING:
    import pandas

OPTIONS = ("checkpoint", "weights", "device", "packages", "again", "allow_test")
Runs = OpenRun | str | Path | Sequence[OpenRun | str | Path]


def train(
    *words: str,
    model: Any = None,
    data: Any = None,
    resume: OpenRun | str | Path | None = None,
    config_dir: str | Path | None = None,
    **options: Any,
) -> OpenRun:
    """Trains a run and returns it, opened. Takes what the command line takes, and objects.

    Args:
        words: as they are typed: an experiment's name first, then 'key=value'.
        model: a name in config/model; or a module with `compose_loss`'s counterpart `compute_loss(batch)`, of which a
            copy is trained. A batch is a dict with 'x', 'y' if there are labels, and 'index'.
        data: a name in config/data; or objects: (x, y), x, a torch Dataset, a frame data set, or a mapping of 'train',
            'valid' and 'test' to those. Of rows without splits a tenth is held out as 'valid' and a tenth as 'test'.
        resume: a run to continue instead, opened or by its folder. `model` and `data` are then the objects that it was
            trained with, unless it was opened with them.
        config_dir: your own folder of config files; by default ./config, if there is one.
        options: further settings by their keys: `train_for="5 epochs"`, `params={"beta": 0.1}`.

    Raises:
        UserError: a setting, the model or the data are wrong, before anything is written; or the run failed.
        KeyboardInterrupt: Ctrl-C. The run is saved first; its `run` is the opened run, whose `resume()` continues it.

    Example:
        >>> run = frame.train("digits_VAE", "params.beta=0.1", train_for="5 epochs")
        >>> run = frame.train(model=MyModule(), data=(x_train, y_train), train_for="5 epochs")
    """
    with unchanged():
        if resume is not None:
            return _resumed(resume, words_of(words, options), model, data)
        parts = {"model": model, "data": data}
        named = {part: value for part, value in parts.items() if isinstance(value, str)}
        objects = Objects.of(**{part: value for part, value in parts.items() if part not in named})
        typed_words = words_of(words, {**named, **options})
        if objects.model is not None and not _names(typed_words, "experiment", "optimization"):
            typed_words.append(f"optimization={procedure(objects)}")
        place = None if config_dir is None else Path(config_dir)
        return _ended(objects, (), lambda: start(typed_words, place, objects))


def _names(words: Sequence[str], *keys: str) -> bool:
    return any(word.lstrip("+").split("=")[0] in keys for word in words)


def _resumed(resume: OpenRun | str | Path, words: Sequence[str], model: Any, data: Any) -> OpenRun:
    folder = resume.folder.path if isinstance(resume, OpenRun) else Path(resume).expanduser()
    for part, value in (("model", model), ("data", data)):
        if isinstance(value, str):
            raise UserError(f"{part}={value}: a resumed run keeps its config: leave {part} out")
    objects = Objects.of(model, data)
    if isinstance(resume, OpenRun):
        objects = resume.objects.updated(objects)
    objects.folder = folder
    use_own_folder()
    packages = resume.packages if isinstance(resume, OpenRun) else ()
    return _ended(objects, packages, lambda: experiment.resume(folder, words, objects))


def _ended(objects: Objects, packages: Sequence[str], go: Callable[[], int]) -> OpenRun:
    """Trains, and opens the run.

    Raises:
        UserError: it failed.
        Stopped: by a signal.
    """
    try:
        code = go()
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning answers KeyboardInterrupt by SystemExit
        code = error.code if isinstance(error, Interrupted) else 130
        if objects.folder is None:
            raise Interrupted(code - 128) from None
    folder = objects.folder
    assert folder is not None
    run = OpenRun(RunFolder(folder), [*packages, *_trusted(folder)], objects=objects)
    if code > 128:
        after = (run.status.get("counters") or {}).get("iterations")
        where = f" after {after:.0f} iterations" if after is not None else ""
        raise Stopped(
            code - 128,
            run,
            f"{signal.Signals(code - 128).name}: {folder} is stopped{where}, and saved; frame.train(resume='{folder}'"
            + "".join(f", {part}=..." for part in objects.texts)
            + ") continues it",
        ) from None
    if code:
        reason = str(run.status.get("reason") or f"it ended with {code}").strip().splitlines()[-1]
        raise UserError(f"{folder}: {reason}")
    return run


def _trusted(folder: Path) -> list[str]:
    """The packages of the user's own that a run names which was trained in this process."""
    roots = {str(node["_target_"]).split(".")[0] for _, node in targets(RunFolder(folder).plain)}
    return sorted(roots - {"frame", "torch"})


def evaluate(
    runs: Runs,
    evaluations: str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    on: str | None = None,
    **options: Any,
) -> "pandas.DataFrame":
    """Measures finished runs, as `frame evaluate` does, and returns the records as a data frame, one row a number.

    What was measured before, in the same way, is not measured again, and its records are returned, too.

    Args:
        runs: an opened run, a folder, a pattern such as 'runs/*/*', or a list of these.
        evaluations: names in config/evaluation; or a mapping of names to arguments; None takes the run's own.
        on: the split; None leaves each evaluation on its own.
        options: 'checkpoint', 'weights', 'device', 'packages', 'again' and 'allow_test', as for the command; and
            arguments of evaluations, `linear_probe={"n_samples": 1000}`.

    Raises:
        UserError: an option, a run, an evaluation or a split is wrong, or none could be measured.
        KeyboardInterrupt: Ctrl-C. What was measured is recorded.

    Example:
        >>> frame.evaluate(run, ["linear_probe", "knn"], on="test")
        >>> frame.evaluate("runs/digits_VAE/*", {"elbo": {"n_samples": 300}}, on="test", weights="raw")
    """
    import pandas

    with unchanged():
        use_own_folder(trains=False)
        asked, rest = _asked(evaluations, options)
        opened = [runs] if isinstance(runs, OpenRun | str | Path) else [*runs]
        again = bool(rest.pop("again", False))
        own = {run.folder.path: {**_own(run), **rest} for run in opened if isinstance(run, OpenRun)}
        folders = [run.path for run in find(places_of(opened))]
        found = evaluate_runs(folders, chosen=asked, again=again, evaluate_on=on, own=own, **rest)
        if found.code > 128:
            raise Interrupted(found.code - 128)
        if not found.outcomes:
            raise UserError(next(iter(found.failed.values())))
        return pandas.DataFrame([row for folder, outcome in found.outcomes.items() for row in _rows(folder, outcome)])


def _asked(
    evaluations: str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None, options: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]] | None, dict[str, Any]]:
    """The chosen evaluators by name, and the other options.

    Raises:
        UserError: an evaluation, an argument or an option is unknown.
    """
    given: dict[str, Any] = {}
    if isinstance(evaluations, Mapping):
        given = {name: dict(arguments or {}) for name, arguments in evaluations.items()}
    elif evaluations is not None:
        given = {name: {} for name in ([evaluations] if isinstance(evaluations, str) else evaluations)}
    rest = {}
    for key, value in options.items():
        name, _, argument = key.partition(".")
        if key in OPTIONS:
            rest[key] = value
        elif name in given and (argument or isinstance(value, Mapping)):
            given[name] |= {argument: value} if argument else value
        else:
            raise UserError(choices(key, [*OPTIONS, "on", "evaluations", *given], kind="option of evaluate"))
    chosen = {
        name: chosen_evaluation(name, {f"{name}.{key}": typed(value, key) for key, value in arguments.items()})
        for name, arguments in given.items()
    }
    return chosen or None, rest


def _own(run: OpenRun) -> dict[str, Any]:
    """How a run was opened, for its evaluation."""
    how = {"checkpoint": run.checkpoint, "weights": run.weights, "device": run.device, "packages": run.packages}
    return {**how, "objects": run.objects}


def _rows(folder: Path, outcome: Outcome) -> list[dict[str, Any]]:
    """The records of the evaluations that were asked for, with the facts of the run beside them."""
    run, notes = RunFolder(folder), Notes(folder)
    names = {notes.newest(key) for key in outcome.keys}
    records = [record for record in run.records if record.get("evaluation") in names] + [*outcome.unrecorded]
    facts = beside(RunSummary(run))
    return [{**record, **facts} for record in records]
