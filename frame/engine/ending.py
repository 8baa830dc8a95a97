"""Ends a run: its status, which describes what is on disk, its last lines in the terminal, and the exit code."""

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from frame.callbacks.base import optimization_of
from frame.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from frame.common import faults
from frame.common.durations import Duration
from frame.common.errors import Unread, UserError
from frame.common.numbers import counted, unsigned_zero
from frame.common.output import say
from frame.common.ranks import lost_others
from frame.common.shell import pasted
from frame.loggers.files import FilesLogger
from frame.optimization.base import Diverged, Optimization
from frame.runs.folder import RunFolder
from frame.runs.origin import origin_of

NEXT = {"digits_VAE": "+experiment=MNIST_VAE", "MNIST_VAE": "+experiment=MNIST_VAE params.beta=1"}


def finish(
    trainer: Trainer,
    config: DictConfig,
    limits: Sequence[Duration],
    run: RunFolder | None,
    *,
    in_python: bool = False,
) -> int:
    """Ends a run that has trained to its limit or a signal; the exit code is 0 if it is finished and on disk.

    Args:
        in_python: whether the caller is Python, which shows the results when the run is shown.
    """
    optimization = optimization_of(trainer.lightning_module)
    number = optimization.stop_signal
    if run is None:
        return 128 + number if number else 0
    unwritten, saved = _on_disk(trainer, run)
    reached = [str(limit) for limit in limits if limit.reached(optimization.counters)]
    reason = f"trained for {reached[0]}" if reached else "stopped early"
    signalled = [signal.Signals(number).name] if number else []
    gone = [] if (run.path / "config.yaml").is_file() else ["its config.yaml was taken away"]
    interrupted = "; ".join([*signalled, *unwritten, *gone])
    metrics = {name: event["values"] for name, event in optimization.events.items()}
    counters = {name: float(value) for name, value in (saved or {}).items()}
    state = "stopped" if interrupted else "finished"
    unfinished = optimization.unfinished()
    written = run.set_status(
        state, reason=interrupted or reason, metrics=metrics, counters=counters, unfinished=unfinished
    )
    _close(trainer, "success")
    if gone:
        say(f"not finished: {run.path / 'config.yaml'} was taken away while it trained: train it again")
    elif unwritten:
        kept = f"its checkpoint is of iteration {saved['iterations']:.0f}" if saved else "it has no checkpoint"
        say(f"not finished: {unwritten[0]}; {kept}. Make room, then: {_go_on(run)}")
    elif number:
        if not in_python:  # the exception says it
            print(f"stopped by {signalled[0]}. To go on: {_go_on(run)}", file=sys.stderr)
    elif not written:
        say(f"trained to the end, but {run.path / 'status.json'} could not be written. Make room, then: {_go_on(run)}")
    elif in_python:
        print(f"{trained(optimization)}: {run.path}")
    else:
        print(last_words(run, config, optimization))
    return 128 + number if number else int(bool(unwritten or gone) or not written)


def stopped(run: RunFolder | None, trainer: Trainer, error: OSError) -> int:
    """Ends a run for which the disk has no room; `resume=` continues it from its last checkpoint."""
    where = f" ({error.filename})" if error.filename else ""
    if run is not None:
        run.set_status("stopped", reason=f"{error.strerror}{where}")
        _close(trainer, "failed")
        say(f"{error.strerror}{where}. Make room, then: {_go_on(run)}")
    return 1


def unread(run: RunFolder | None, trainer: Trainer, error: Unread) -> int:
    """Ends a run whose next rows cannot be read; `resume=` continues it, from here if its state could be written."""
    if run is not None:
        run.set_status("stopped", reason=str(error))
        _close(trainer, "failed")
        say(f"{error}: {_go_on(run)}")
    return 1


def failed(run: RunFolder | None, trainer: Trainer, error: BaseException) -> int:
    """Ends a run that cannot continue. An error that is raised further is said by the command, with the run's place."""
    if run is None:
        return 1
    said = isinstance(error, UserError | Diverged)
    run.set_status("failed", reason=str(error) if said else "".join(traceback.format_exception(error)))
    _close(trainer, "failed")
    own = not said and faults.place_of(error) is not None and run.is_own
    go_on = f"; to go on once it is mended: {_go_on(run)} source=now" if own else ""
    if lost_others(error):
        say(f"another process of this run ended or does not answer; if it said why, mend that. Then: {_go_on(run)}")
    elif said:
        say(f"{faults.told(error)}\nframe: the run is in {run.path}")
    else:
        error.add_note(f"frame: the run is in {run.path}{go_on}")
    return 1


def _on_disk(trainer: Trainer, run: RunFolder) -> tuple[list[str], dict[str, float] | None]:
    """The files that could not be written, and the counters of the state on disk."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    (last,) = [callback for callback in callbacks if isinstance(callback, LastCheckpoint)]
    best = [callback.unwritten for callback in callbacks if isinstance(callback, BestCheckpoint)]
    unwritten = [why for why in (last.unwritten, *best) if why]
    if not run.save():
        unwritten.append(f"measurements could not be written to {run.path}")
    for logger in trainer.loggers:
        logger.save()
        if isinstance(logger, FilesLogger) and logger.waiting:
            unwritten.append(f"{logger.folder / 'metrics.jsonl'} could not be written")
    return unwritten, last.saved


def _go_on(run: RunFolder) -> str:
    return f"{command('train')} {pasted(f'resume={run.path.resolve()}')}"


def _close(trainer: Trainer, status: str) -> None:
    for logger in trainer.loggers:
        logger.finalize(status)


def last_words(run: RunFolder, config: DictConfig, optimization: Optimization) -> str:
    """A table of the newest value under each name, the folder, the newest pictures, and a command."""
    newest: dict[str, dict[str, Any]] = {record["name"]: record for record in run.records}
    lines = [""]
    if newest:
        width = max(len(name) for name in newest)
        units = max(len(record["unit"]) for record in newest.values())
        lines.append(f"{'':{width}}  {'value':>10}  {'unit':<{units}}  {'split':<6} samples")
        for name, record in newest.items():
            lines.append(
                f"{name:{width}}  {_number(record['value']):>10}  {record['unit']:<{units}}  {record['split']:<6} "
                f"{record['n_samples'] or ''}"
            )
        judged = protocols(newest.values())
        lines += ["", *judged] if judged else []
    lines.append(f"\n{trained(optimization)}")
    if unfinished := optimization.unfinished():
        lines.append(f"the run has ended inside the schedule of {', '.join(unfinished)}")
    lines.append(f"run      {run.path}")
    lines += [f"picture  {file}" for file in run.newest_pictures]
    lines.append(f"test     {command('evaluate')} {pasted(*_opened(run), 'evaluate_on=test')}")
    following = NEXT.get(str(config.experiment_name))
    if following is not None:
        lines.append(f"next     {command('train')} {following}")
    return "\n".join(lines)


def trained(optimization: Optimization) -> str:
    """For how long it was trained, in one line."""
    counters = optimization.counters
    return (
        f"trained {counted(counters['iterations'], 'iterations')}, {counted(counters['epochs'], 'epochs')} "
        f"in {counters['seconds']:.0f} s"
    )


def protocols(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """How codes were judged, once for all that were judged alike: kNN's k and temperature, and whose code it is."""
    alike: dict[str, list[str]] = {}
    for record in records:
        if record.get("layer"):
            network = f", of the {record['network']}" if record.get("network") else ""
            alike.setdefault(f"{record['estimator']}{network}", []).append(str(record["name"]))
    return [f"{', '.join(names)}: {how}" for how, names in alike.items()]


def _opened(run: RunFolder) -> list[str | Path]:
    """The words that name a run in any folder, and the packages to trust if its own are not."""
    modules = {name.partition(".")[0] for name in (run.code.get("modules") or {})} - {"frame"}
    trusted = not modules or origin_of(run).own
    return [run.path.resolve(), *([] if trusted else [f"packages=[{','.join(sorted(modules))}]"])]


def _number(value: float) -> str:
    return unsigned_zero(f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}")


def command(name: str) -> str:
    """The subcommand as it can be typed here, whether or not an environment is activated."""
    beside = Path(sys.executable).parent
    shown = os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
    found = shutil.which("frame")
    activated = found is not None and Path(found).parent == beside
    if name == "train" and Path(sys.argv[0]).name == "train.py":
        return "python train.py" if activated else pasted(f"{shown}/python", Path(sys.argv[0]))
    return f"frame {name}" if activated else pasted(f"{shown}/frame", name)
