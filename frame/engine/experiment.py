"""The one path that every run takes: compose, check, instantiate, fit, record."""

import inspect
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from frame.callbacks.base import Binds, Context, Due, wanting_each_batch
from frame.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from frame.callbacks.duration import TrainDuration
from frame.callbacks.losses import LossLog
from frame.callbacks.progress import ProgressBar
from frame.callbacks.stopping import Signals, StopOnSignal
from frame.common import trust
from frame.common.confidential import refuse_secrets
from frame.common.durations import Duration, limits_of, save_interval
from frame.common.errors import Unread, UserError
from frame.common.in_file import in_file
from frame.common.output import UNWRITABLE, say
from frame.common.ranks import lost_others
from frame.composition import checks, evaluations
from frame.composition.compose import changed_by
from frame.composition.folders import OwnFolder, own_folder
from frame.composition.instantiate import instantiate, locate, named
from frame.composition.plain import as_config
from frame.composition.settings import SIZES, check_parts
from frame.composition.stored import all_filled, resolved, stored, with_sizes
from frame.data.base import DataSet, described
from frame.data.files import trained_in
from frame.data.loader import Loads
from frame.data.per_sample import as_data_set
from frame.data.sizes import sizes_of
from frame.data.take import Take
from frame.engine import members, pretrained
from frame.engine.costs import costs
from frame.engine.dry_run import check_data, check_keys, check_rows, dry_run
from frame.engine.ending import failed, finish, stopped, unread
from frame.engine.objects import Objects, refuse
from frame.engine.opening import NOW, TRAINED
from frame.engine.suitable import check_kind, full, suitable
from frame.engine.trainer import in_parts, make_trainer, quiet, translate
from frame.evaluation.floors import floors_of
from frame.loggers.base import RunLogger
from frame.loggers.files import FilesLogger
from frame.models.base import Model
from frame.optimization.base import Diverged, Optimization
from frame.optimization.execution import Eager
from frame.optimization.stretches import Stretches
from frame.runs import checkpoints, metrics, names
from frame.runs.exported import Export
from frame.runs.folder import RunFolder
from frame.runs.modules import importing
from frame.runs.origin import Origin, origin_of, own_folder_of
from frame.runs.source import FOLDER as SOURCE
from frame.runs.source import kept as kept_source
from frame.runs.source import own_modules

# arguments that `frame` itself passes to a constructor that the config names
GIVEN = {
    "optimization": ("model",),
    "logging": ("folder", "config"),
    "loader": ("source", "batch_size", "seed", "rank", "world", "limit", "device"),
}
LOADER = "frame.data.loader.Loader"  # for runs whose config names none
# keys that a resumed run may change: its length, its device and processes, and whether it may choose on test
LIMITS = ("train_for", "trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
PROCESSES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy")
CHANGEABLE = (
    *LIMITS,
    *PROCESSES,
    "device.",
    "loader.num_workers",
    "loader.in_flight",
    "checkpoint.every",
    "allow_test",
    "cut_schedules",
)


@dataclass
class Experiment:
    """All parts of a run, built and checked before anything is written.

    `plain` is the config with all references filled in; `config` is the same with attributes.
    """

    plain: dict[str, Any]
    config: DictConfig
    data: DataSet
    model: Model
    optimization: Optimization
    callbacks: list[Callback]
    limits: list[Duration]
    save_every: Duration | None
    trainer: Trainer
    loader: Loads
    objects: Objects | None

    def signals(self) -> Signals:
        """Notes signals; a second one ends the process, or raises where Python goes on after the run."""
        return Signals(self.trainer, self.optimization, kills=self.objects is None)


def train(config: DictConfig, overrides: Sequence[str], objects: Objects | None = None) -> int:
    """Trains a composed config in a new folder; returns the exit code.

    Args:
        config: as it was composed.
        overrides: the typed words.
        objects: parts that are objects of Python, if a caller's process goes on afterwards; their `folder` is set.

    Raises:
        UserError: nothing was trained and no folder was made.
    """
    experiment = build(config, objects=objects)
    members.join(experiment)
    if experiment.trainer.global_rank > 0:
        with experiment.signals():
            return fit(experiment, None)
    data = described(experiment.data)
    written = stored(config, experiment.plain)
    written = written if objects is None else objects.noted(written)
    refuse_secrets(written)
    note_folder(written)
    counted = costs(experiment.optimization, experiment.loader)
    with experiment.signals():  # before the folder is made, so that its status is written
        root = Path(str(experiment.config.device.experiments_root))
        run = RunFolder.create(root, str(experiment.config.experiment_name))
        try:
            run.write_costs(counted)
            run.write_data(data)
            run.describe(written, overrides)
        except OSError as error:
            run.discard()
            raise UserError(
                f"runs cannot be written below {root} ({error.strerror}): set device.experiments_root=..."
            ) from None
        if objects is not None:
            objects.folder = run.path
        return fit(experiment, run)


def note_folder(config: Mapping[str, Any]) -> None:
    """Notes the folder as one in which the user trains, if modules of it may serve the run."""
    folder = own_folder()
    serves = OwnFolder.folder is not None or any(
        file.is_relative_to(folder.resolve()) for file in own_modules(config, strict=False).values()
    )
    try:
        trust.trained_in(folder if serves else None)
    except UserError as error:  # the run can be trained all the same
        say(f"this folder is not noted as yours: {error}")


def resume(folder: Path, overrides: Sequence[str], objects: Objects | None = None, *, source: str = TRAINED) -> int:
    """Continues from the last checkpoint in `folder`, with the limits that `overrides` set; returns the exit code.

    The user's own modules are those with which the run was trained so far.

    Args:
        folder: the run.
        overrides: the typed words.
        objects: those that the run was started with, see `train`.
        source: 'now': the user's own modules as they are now serve the rest of the run, and are kept in its folder.

    Raises:
        UserError: there is no run, another process trains in it, the overrides change other keys, or its
            data have changed.
    """
    run = RunFolder.existing(folder)
    if Export.at(run.path) is not None:
        raise UserError(
            f"{folder} is an export, which has no state to go on from: its README.md says how to train it again"
        )
    origin = origin_of(run, now=source == NOW)
    if origin.said:
        say(f"{folder}: {origin.said}")
    with importing(origin.source):
        return _resumed(run, overrides, origin, objects)


def _resumed(run: RunFolder, overrides: Sequence[str], origin: Origin, objects: Objects | None) -> int:
    folder = run.path
    kept: Any = OmegaConf.to_container(changed_by(OmegaConf.create(run.stored), overrides, CHANGEABLE))
    plain = all_filled(kept)  # a user who continues a run trusts it
    config = as_config(plain)
    stamp = checkpoints.stamp(run.path)
    state = run.checkpoint(whole=False)
    if _is_finished(run, config, state, overrides):
        print(
            f"{folder} is finished ({run.standing.get('reason', '')}): nothing to do. "
            "To go on: train_for=..., above what is done"
        )
        return 0
    experiment = build(plain, run, saved=state is not None, objects=objects)
    members.join(experiment)
    if state is not None:
        _tell_stretched(experiment, limits_of(as_config(all_filled(run.stored))), state["counters"])
        _tell_width(state.get("width", 1), experiment.optimization.execution.width)
    with experiment.signals():
        if experiment.trainer.global_rank > 0:
            return fit(experiment, None, state)
        run.lock()
        if checkpoints.stamp(run.path) != stamp:
            run.unlock()
            raise UserError(f"another process has just trained in {folder}: give the command again")
        run.write_again(kept, code_of(run, kept, origin, state))
        return fit(experiment, run, state)


def code_of(
    run: RunFolder, config: Mapping[str, Any], origin: Origin, state: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What code.json says of a run that is continued. If it takes newer source, that is kept, and it says since when.

    The former source stays beside it.
    """
    code = run.code
    if not (origin.own and origin.now and origin.changed):
        return code
    iteration = int(state["counters"]["iterations"]) if state is not None else 0
    former = run.path / SOURCE
    if former.is_dir():
        shutil.copytree(former, run.path / f"{SOURCE}_until_{iteration}", dirs_exist_ok=True)
    changes = [*(code.get("source_changes") or ()), {"iteration": iteration, "files": [*origin.changed]}]
    return {**code, "modules": kept_source(run.path, config), "source_changes": changes}


def _is_finished(run: RunFolder, config: DictConfig, state: dict[str, Any] | None, overrides: Sequence[str]) -> bool:
    """Whether the run is finished: the status says so and agrees with the state on disk.

    Raises:
        UserError: the status says so, and there is no checkpoint.
    """
    status = run.standing
    if status.get("state") != "finished":
        return False
    if state is None:
        raise UserError(f"{run.path} is finished and its checkpoints are gone: train it again, in a new folder")
    counters = state["counters"]
    if counters["iterations"] < status.get("counters", {}).get("iterations", 0):
        return False
    return not overrides or any(limit.counter in counters and limit.reached(counters) for limit in limits_of(config))


def _tell_stretched(experiment: Experiment, former: Sequence[Duration], counters: Mapping[str, float]) -> None:
    """Prints the changes of schedules whose lengths are shares of a run that is now longer or shorter."""
    optimization, limits = experiment.optimization, experiment.limits
    if list(former) == limits or not optimization.follows_the_run():
        return
    before = optimization.values_at(counters, former, experiment.loader)
    now = optimization.values_at(counters, limits, experiment.loader)
    changed = [f"{n} continues at {now[n]:.4g} instead of {before[n]:.4g}" for n in now if now[n] != before[n]]
    say(
        f"the run takes {' or '.join(map(str, limits))} instead of {' or '.join(map(str, former))}, and shares of it "
        f"follow: {', '.join(changed) or 'no value changes at this point'}"
    )


def _tell_width(before: int, now: int) -> None:
    """Says that a run goes on in another stack, or in none."""
    if before != now:
        shown = ["alone" if width == 1 else f"in a stack of {width}" for width in (before, now)]
        say(f"it was trained {shown[0]} and goes on {shown[1]}: its numbers agree to float tolerance, not in all bits")


def build(
    config: DictConfig | dict[str, Any],
    run: RunFolder | None = None,
    *,
    saved: bool = False,
    objects: Objects | None = None,
) -> Experiment:
    """Builds everything and tries it on a few rows; writes no file.

    Args:
        config: the composed config, to which `sizes` are added; or plain values, which are built unchanged.
        run: the run to resume; the data must be those that it was trained on.
        saved: whether that run has a checkpoint, so that pretrained networks need not be read again.
        objects: parts that are objects of Python; they take the place of their nodes.

    Raises:
        UserError: names what is wrong and what to do.
    """
    quiet()
    given = objects or Objects()
    if isinstance(config, dict):
        data = _data_of(config, config, run, given)
        plain = written = config if SIZES in config else with_sizes(config, sizes_of(data))
    else:
        data = build_data(config, run, given)
        plain, written = resolved(config), OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    automatic = plain.pop(evaluations.KEY, None) == evaluations.AUTO  # its callbacks are there
    config = as_config(plain)
    check_parts(config)
    if given.model is None:
        refuse(plain, "model", run)
        check_keys(locate(plain["model"]["_target_"], "model"), {"index", *data.keys}, data)  # before sizes are missed
    checks.check({part: node for part, node in plain.items() if part not in given.nodes}, written, GIVEN)
    names.check_config(plain)
    plain, sources = pretrained.placed(plain)
    limits, save_every = limits_of(config), save_interval(config)
    _seed(config)  # again, so that the first weights do not depend on what the data drew
    sources = sources or ({} if saved else pretrained.again(plain))
    translated, settings = translate(config)
    with in_file(in_parts(config, settings)):
        model: Model = given.untrained(partial(pretrained.built, plain["model"], sources))()
    check_kind(model, nn.Module, "model", plain["model"])
    if not callable(getattr(model, "compute_loss", None)):
        raise UserError(f"model: {type(model).__name__} has no compute_loss(batch): derive it from {full(Model)}")
    batch = check_data(model, data, config)
    optimization = instantiate(plain["optimization"], "optimization", model=model, **translated)
    check_kind(optimization, Optimization, "optimization", plain["optimization"])
    if plain.get("execution") is not None:
        optimization.execution = instantiate(plain["execution"], "execution")
        check_kind(optimization.execution, Eager, "execution", plain["execution"])
        optimization.execution.lay_out(model)
    for limit in limits:
        limit.check(optimization.counters, key="train_for")
    if save_every is not None:
        save_every.check(optimization.counters, key="checkpoint.every")
    plain["callbacks"], callbacks = suitable(plain.get("callbacks"), model, data, leave_out=automatic)
    if plain.get("doctor") is not None:
        callbacks.append(instantiate(plain["doctor"], "doctor"))
        check_kind(callbacks[-1], Callback, "doctor", plain["doctor"])
    for key, node in named(plain.get("logging")):
        kind = locate(str(node["_target_"]), f"logging.{key}")
        if inspect.isclass(kind) and not issubclass(kind, Logger):
            raise UserError(f"logging.{key}: {node['_target_']} is not a {full(Logger)}")
    trainer = make_trainer(config, settings, optimization)
    optimization.execution.check(trainer.strategy.root_device)
    with floors_of(_untrained(plain, optimization, given), int(config.seeds.init)):
        dry_run(model, optimization, callbacks, data, batch, config, trainer.global_rank)
    loader = make_loader(plain, data, optimization, trainer)
    check_rows(model, loader)
    optimization.bind(limits, loader, cut=bool(config.get("cut_schedules")))
    return Experiment(plain, config, data, model, optimization, callbacks, limits, save_every, trainer, loader, objects)


def _untrained(plain: Mapping[str, Any], optimization: Optimization, given: Objects) -> Callable[[], nn.Module]:
    """What makes the run's model as it was before training."""
    return partial(optimization.execution.untrained, given.untrained(partial(instantiate, plain["model"], "model")))


def build_data(config: DictConfig, run: RunFolder | None = None, objects: Objects | None = None) -> DataSet:
    """Builds the data of a composed config, once they are checked, and adds their `sizes` to the config.

    Args:
        config: as it was composed.
        run: the run that is continued; the data must be those that it was trained on.
        objects: the data may be among them.

    Raises:
        UserError: the data cannot be built or read.
    """
    written: Any = OmegaConf.to_container(config, resolve=False)
    data = _data_of(resolved(config), written, run, objects or Objects())
    with open_dict(config):
        config.sizes = dict(sizes_of(data))
    return data


def _data_of(plain: dict[str, Any], written: dict[str, Any], run: RunFolder | None, objects: Objects) -> DataSet:
    config = as_config(plain)
    check_parts(config)
    _seed(config)
    if objects.data is not None:
        data = objects.data
    else:
        refuse(plain, "data", run)
        checks.check({"data": plain["data"]}, {"data": written["data"]}, GIVEN)
        with trained_in(None if run is None else own_folder_of(run)):
            data = as_data_set(instantiate(plain["data"], "data"))
    if run is not None:
        data.expect(run.data, str(run.path))
    return data if config.get("data_rows") is None else Take(data, int(config.data_rows))


def _seed(config: DictConfig) -> None:
    seed = int(config.seeds.init)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def make_loader(plain: dict[str, Any], data: DataSet, optimization: Optimization, trainer: Trainer) -> Loads:
    """The loader that the config names, of the training data.

    Raises:
        UserError: an argument is out of range, or the loader lacks a method that training needs.
    """
    node = plain.get("loader") or {"_target_": LOADER, "num_workers": plain["device"]["num_workers"]}
    given = {
        "source": data.training(),
        "batch_size": optimization.batch_size,
        "seed": int(plain["seeds"]["data"]),
        "rank": trainer.global_rank,
        "world": trainer.world_size,
        "limit": plain["trainer"].get("limit_train_batches"),
        "device": trainer.strategy.root_device,
    }
    loader = instantiate(node, "loader", **_taken(given, str(node["_target_"]), "loader"))
    if not isinstance(loader, Loads):
        asked = ("epoch", "epochs", "__len__", "__iter__", "state_dict", "load_state_dict")
        lacks = [name for name in asked if not hasattr(loader, name)]
        raise UserError(f"loader: {node['_target_']} lacks {', '.join(lacks)}: see frame.data.loader.Loads")
    return loader


def _taken(given: dict[str, Any], target: str, path: str) -> dict[str, Any]:
    """The given arguments that a constructor takes."""
    takes = inspect.signature(locate(target, path)).parameters
    any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    return {key: value for key, value in given.items() if key in takes or any_name}


def fit(experiment: Experiment, run: RunFolder | None, state: dict[str, Any] | None = None) -> int:
    """Trains from `state` on; returns the exit code. Ranks above 0 have no folder, because they write nothing."""
    optimization = experiment.optimization
    if optimization.lr_scale != 1.0 and experiment.trainer.global_rank == 0:
        rows = optimization.batch_size * optimization.accumulate * optimization.world
        say(
            f"learning rates are multiplied by {optimization.lr_scale:g}: a step has {rows} rows, and "
            f"optimization.lr_batch={optimization.lr_batch}"
        )
    given = experiment.objects or Objects()
    untrained = _untrained(experiment.plain, optimization, given)
    with experiment.signals() as signals, floors_of(untrained, int(experiment.config.seeds.init)):
        try:
            return _fit(experiment, run, signals, state) or finish(
                experiment.trainer, experiment.config, experiment.limits, run, in_python=experiment.objects is not None
            )
        finally:
            if run is not None:
                run.unlock()


def _fit(experiment: Experiment, run: RunFolder | None, signals: Signals, state: dict[str, Any] | None) -> int:
    """Trains to the end (returns 0) or until something fails (1)."""
    trainer, optimization = experiment.trainer, experiment.optimization
    trainer.callbacks = engine(experiment, run, signals, state)  # type: ignore[attr-defined]
    try:
        if run is not None:
            checkpoints.clear(run.path)
            run.set_status("running", reason="", pid=os.getpid())
            trainer.loggers = make_loggers(experiment.plain, run.path)
            _cut(run, trainer, int(state["counters"]["iterations"]) if state is not None else -1)
        if state is not None:
            experiment.loader.load_state_dict(state["loader"])
            trainer.fit_loop.epoch_progress.current.completed = experiment.loader.epoch  # trainer.current_epoch
        trainer.fit(optimization, _in_stretches(experiment))
    except (Diverged, UserError) as error:
        if experiment.objects is not None:
            experiment.objects.reason = str(error)
        return unread(run, trainer, error) if isinstance(error, Unread) else failed(run, trainer, error)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            failed(run, trainer, error)
            raise
        return stopped(run, trainer, error)
    except (KeyboardInterrupt, SystemExit):  # raised by a user's code; our handlers only note a signal
        if run is not None:
            run.set_status("stopped", reason="interrupted")
        raise
    except BaseException as error:
        failed(run, trainer, error)
        if lost_others(error):
            return 1
        raise
    return 0


def _in_stretches(experiment: Experiment) -> Any:
    """What Lightning iterates over: stretches, or single batches if something wants to be called for each."""
    trainer, optimization = experiment.trainer, experiment.optimization
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    optimization.watchers = [callback.is_due for callback in callbacks if isinstance(callback, Due)]
    wanting = wanting_each_batch(optimization, callbacks)
    if not wanting:
        return Stretches(experiment.loader)
    if trainer.is_global_zero:
        say(
            f"{', '.join(wanting)}: called in each iteration, which is slower for small models; "
            "a callback with is_due(optimization) is called when it is due"
        )
    return experiment.loader


def engine(
    experiment: Experiment, run: RunFolder | None, signals: Signals, state: dict[str, Any] | None
) -> list[Callback]:
    """The experiment's callbacks among our own, in the order in which they must act."""
    config, trainer = experiment.config, experiment.trainer
    folder = run.path / "checkpoints" if run is not None else Path()
    duration = TrainDuration(experiment.limits)
    losses = LossLog(int(trainer.log_every_n_steps))  # type: ignore[attr-defined]
    shown = experiment.objects is None or experiment.objects.progress
    bar = ProgressBar(str(config.experiment_name), duration, losses, shown=shown)
    callbacks: list[Callback] = [signals, duration, *experiment.callbacks, StopOnSignal(), losses, bar]
    if config.checkpoint.best is not None:
        callbacks.append(BestCheckpoint(folder, str(config.checkpoint.best), config.checkpoint.mode))
    context = Context(experiment.data, run, str(config.weights))
    for callback in experiment.callbacks:
        if isinstance(callback, Binds):
            callback.bind(context)
    return [*callbacks, LastCheckpoint(folder, experiment.save_every, state, experiment.limits)]


def _cut(run: RunFolder, trainer: Trainer, iteration: int) -> None:
    """Removes everything written after `iteration`, before the run is resumed there. Does nothing in a new folder."""
    run.cut(iteration)
    if any((run.path / name).exists() for name in (metrics.FILE, metrics.TABLE, "images", "tables")):
        for logger in trainer.loggers:
            if hasattr(logger, "cut"):
                logger.cut(iteration)


def make_loggers(plain: dict[str, Any], folder: Path) -> list[Logger]:
    """The logger of the run's own files, and the loggers that `logging` names."""
    loggers: list[Logger] = [FilesLogger(folder)]
    for name, node in named(plain.get("logging")):
        given = _taken({"folder": folder, "config": plain}, str(node["_target_"]), f"logging.{name}")
        loggers.append(instantiate(node, f"logging.{name}", **given))
        check_kind(loggers[-1], Logger, f"logging.{name}", node)
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.keep = plain["pictures"]["keep"]
    return loggers
