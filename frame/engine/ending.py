"""How a run ends: what its status says, which is what is on disk, what is said, and the exit code."""

import signal
import sys
from collections.abc import Sequence

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from frame.callbacks.base import optimization_of
from frame.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from frame.common.durations import Duration
from frame.common.output import say
from frame.common.shell import pasted
from frame.engine import last_words
from frame.loggers.files import FilesLogger
from frame.runs.folder import RunFolder


def finish(trainer: Trainer, config: DictConfig, limits: Sequence[Duration], run: RunFolder | None) -> int:
    """Ends a run that has trained as far as it was to: the exit code is 0 where it is finished, and on disk."""
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
    written = run.set_status(state, reason=interrupted or reason, metrics=metrics, counters=counters)
    _close(trainer, "success")
    if gone:
        say(f"not finished: {run.path / 'config.yaml'} was taken away while it trained: train it again")
    elif unwritten:
        kept = f"its checkpoint is of iteration {saved['iterations']:.0f}" if saved else "it has no checkpoint"
        say(f"not finished: {unwritten[0]}; {kept}. Make room, then: {_go_on(run)}")
    elif number:
        print(f"stopped by {signalled[0]}. To go on: {_go_on(run)}", file=sys.stderr)
    elif not written:
        say(f"trained to the end, but {run.path / 'status.json'} could not be written. Make room, then: {_go_on(run)}")
    else:
        print(last_words.last_words(run, config, optimization))
    return 128 + number if number else int(bool(unwritten or gone) or not written)


def stopped(run: RunFolder | None, trainer: Trainer, error: OSError) -> int:
    """Ends a run for which there is no room; it goes on from its last checkpoint when it is asked to."""
    where = f" ({error.filename})" if error.filename else ""
    if run is not None:
        run.set_status("stopped", reason=f"{error.strerror}{where}")
        _close(trainer, "failed")
        say(f"{error.strerror}{where}. Make room, then: {_go_on(run)}")
    return 1


def failed(run: RunFolder | None, trainer: Trainer, reason: str) -> int:
    """Ends a run that cannot go on."""
    if run is not None:
        run.set_status("failed", reason=reason)
        _close(trainer, "failed")
        say(f"{reason.strip().splitlines()[-1]}\nframe: the run is in {run.path}")
    return 1


def _on_disk(trainer: Trainer, run: RunFolder) -> tuple[list[str], dict[str, float] | None]:
    """What could not be written, and the counters of the state that was."""
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
    return f"{last_words.command('train')} {pasted(f'resume={run.path}')}"


def _close(trainer: Trainer, status: str) -> None:
    for logger in trainer.loggers:
        logger.finalize(status)
