"""Tests a run on one tiny batch, before its folder is made."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.callbacks.base import Monitor
from frame.callbacks.evaluation import EvaluationCallback
from frame.common import faults, selection
from frame.common.copies import with_same_weights
from frame.common.errors import NoNumber, UserError, choices
from frame.common.in_file import in_file
from frame.common.output import say
from frame.composition.compose import compose
from frame.composition.folders import config_folder
from frame.composition.instantiate import hints_of, instantiate
from frame.composition.stored import resolved
from frame.data.base import Batch, DataSet, check_batch, check_tokens, keys_in, whole_batch
from frame.data.take import Take
from frame.evaluation.base import LogEntry, Predicts, evaluating, full_name, given
from frame.measures.scores import kind_of
from frame.models.base import AdversarialModel, ConditionalDistribution, Model
from frame.optimization.base import Optimization
from frame.runs.names import Taken, check_column

ROWS = 4


def check_data(model: Model, data: DataSet, config: DictConfig) -> Batch:
    """Checks the first rows to train on, which are returned, and whether the model can take them.

    Raises:
        UserError: there are none, they are no batch, or they lack what the model needs.
    """
    train = data.training()
    if len(train) == 0:
        raise UserError(f"{type(data).__name__} has no rows to train on")
    batch = whole_batch(train, torch.arange(min(ROWS, len(train))))
    check_batch(batch, type(data).__name__)
    if data.vocabulary is not None:
        check_tokens(batch["x"], data.vocabulary, type(data).__name__)
    check_keys(type(model), {"index", *keys_in(batch)}, data)
    _check_sizes(model, len(train), data, config)
    return batch


def check_rows(model: Model, loader: Any) -> None:
    """Raises UserError if an epoch has a batch with fewer rows than the model's loss compares."""
    part = max((part for part in model.modules() if isinstance(part, Model)), key=lambda part: part.least_rows)
    fewest = getattr(loader, "fewest", part.least_rows)  # a user's loader need not say
    if fewest < part.least_rows:
        raise UserError(
            f"{type(part).__name__} compares the rows of a batch, {part.least_rows} or more, and an epoch has a batch "
            f"of {fewest}: change params.batch_size"
        )


def dry_run(
    model: Model,
    optimization: Optimization,
    callbacks: Sequence[Callback],
    data: DataSet,
    batch: Batch,
    config: DictConfig,
    rank: int,
) -> None:
    """Runs loss and optimizers on a batch, and evaluations on a few rows; model and random state do not change.

    An execution that changes how the model computes is tried last.

    Raises:
        UserError: shapes do not fit, or a monitor names a number of no evaluation.
    """
    # on a copy, because a loss may write buffers and an evaluation may fail halfway; weights to be split have no room
    # for a second time
    in_parts = optimization.execution.in_parts
    with in_file(in_parts):
        copy = with_same_weights(model) if in_parts else deepcopy(model)
    losses = _try_losses(copy, batch, data)
    tried = _try_optimizers(optimization)
    taken = names_in_training(tried, losses)
    measured = _try_evaluations(callbacks, copy, batch, data, optimization, taken)
    for callback in callbacks:
        if isinstance(callback, Monitor):
            callback.check(tried.players)
    _check_choices(callbacks, config, measured)
    if rank == 0:
        optimization.execution.try_out(
            optimization, batch, lambda tried: _try_evaluations(callbacks, tried, batch, data, optimization, Taken())
        )


def check_keys(model: Any, there: Collection[str], data: DataSet) -> None:
    """Raises UserError if batches lack what the model needs; names data sets that have it.

    Args:
        model: its class.
        there: the keys of a batch, and of the batches in it, such as 'unlabelled.x'.
        data: named in the message.
    """
    needs = getattr(model, "needs", ())
    for key in needs if isinstance(needs, tuple) else ():
        if key not in there:
            others = ", ".join(having(key)) or "none of frame's own"
            named = f"data.{key} names its column. " if key in signature(type(data)).parameters else ""
            raise UserError(
                f"{model.__name__} needs '{key}' in each batch; {type(data).__name__} has: {', '.join(sorted(there))}. "
                f"{named}Data sets with '{key}': {others}"
            )


def _check_sizes(model: Model, n_rows: int, data: DataSet, config: DictConfig) -> None:
    """Raises UserError if the model was made for other numbers of rows or classes than the data have."""
    n_data = getattr(model, "n_data", None)
    if n_data is not None and n_data != n_rows and config.get("data_rows") is None:
        raise UserError(f"n_data={n_data}: {type(data).__name__} has {n_rows} rows to train on: set model.n_data")
    n_classes = getattr(model, "n_classes", None)
    if n_classes is not None and data.n_classes is not None and n_classes < data.n_classes:
        raise UserError(
            f"n_classes={n_classes}: {type(data).__name__} has {data.n_classes} classes: set model.n_classes"
        )


def _try_losses(model: Model, batch: Batch, data: DataSet) -> dict[str, Tensor]:
    """The model's losses on the batch, with those of an adversary if it has one."""
    if "y" in getattr(model, "needs", ()) and kind_of(batch["y"]) == "classes":
        _limit_labels(model, batch, data)
    with evaluating(model), naming_shapes(model, batch), torch.enable_grad():
        losses: dict[str, Tensor] = model(batch)
        if isinstance(model, AdversarialModel):
            model.compute_adversarial_loss(batch)
    if "loss" not in losses or losses["loss"].shape != ():
        raise UserError(f"{type(model).__name__} must return a scalar 'loss'; it returned: {', '.join(losses)}")
    return losses


def _try_evaluations(
    callbacks: Sequence[Callback],
    model: Model,
    batch: Batch,
    data: DataSet,
    optimization: Optimization,
    taken: Taken,
) -> dict[str, str]:
    """Runs each evaluation on a few rows; returns the splits of the numbers that evaluations declare, by name.

    Names that an evaluation does not declare are known only if it finds them on a few rows.

    Args:
        taken: other logged names; those of evaluations are added.
    """
    few, measured = Take(data, ROWS), dict[str, str]()
    for callback in callbacks:
        if not isinstance(callback, EvaluationCallback):
            continue
        name, evaluation = callback.name, callback.evaluator
        if callback.every is not None:
            callback.every.check(optimization.counters, key=f"evaluate_every of {name}")
        with evaluating(model), naming_shapes(model, batch, f"{name}: "):
            declared, found = evaluation.declare(model, data), LogEntry(evaluation.evaluate_on)
            with suppress(NoNumber):  # few rows may give none
                found = evaluation.evaluate(model, few)
        taken.add(declared.names(name) | found.names(name), f"evaluation '{name}'")
        measured |= {full_name(name, key): declared.split for key in declared.numbers}
        measured |= {full_name(name, key): found.split for key in found.scalars}
    return measured


def _check_choices(callbacks: Sequence[Callback], config: DictConfig, measured: Mapping[str, str]) -> None:
    """Raises UserError if something is chosen by a number that no evaluation finds, or on test without permission.

    Args:
        measured: splits of the numbers that evaluations find, by name.
    """
    allowed = bool(config.get(selection.ALLOW))
    monitors = [(type(c).__name__, c.monitor) for c in callbacks if isinstance(c, Monitor)]
    if config.checkpoint.best is not None:
        monitors.append(("checkpoint.best", str(config.checkpoint.best)))
    for who, name in monitors:
        if name not in measured:
            raise UserError(f"{who}: {choices(name, measured, kind='measurement')}")
        if note := selection.check(who, name, [{"split": measured[name]}], allowed):
            say(note)
    for callback in callbacks:
        if isinstance(callback, EvaluationCallback):
            if note := selection.check_fit(callback.name, callback.evaluator.fits_on, allowed):
                say(note)


def _limit_labels(model: Model, batch: Batch, data: DataSet) -> None:
    """Refuses labels for which the model has no class, here or when their row is read."""
    n_classes = getattr(model, "n_classes", None)
    if n_classes is None and isinstance(model, Predicts):
        with evaluating(model), naming_shapes(model, batch), torch.no_grad():
            n_classes = model.predict(*given(model, batch)).shape[1]
    if n_classes is not None:
        data.limit_labels(int(n_classes))


def _try_optimizers(optimization: Optimization) -> Optimization:
    """A copy whose optimizers have taken a step without gradients, to find options that they refuse.

    It has one number of each parameter, and no buffers of its own.
    """
    tensors: dict[int, Tensor] = {id(buffer): buffer for buffer in optimization.buffers()}
    for parameter in optimization.parameters():
        one = parameter.detach()[(slice(1),) * parameter.dim()].clone()
        tensors[id(parameter)] = nn.Parameter(one, parameter.requires_grad)
    copy = deepcopy(optimization, tensors)
    copy.players = copy.grouped_players()
    try:
        for player in copy.players.values():
            for parameter in player.parameters:
                parameter.grad = torch.zeros_like(parameter)
            player.update()
    except Exception as error:  # optimizers raise many types, always about their arguments
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"optimization: {reason[0]}") from error
    return copy


def names_in_training(optimization: Optimization, losses: Iterable[str]) -> Taken:
    """Names logged beside evaluations. Raises UserError if two are the same, or one is the name of a column."""
    taken, owner = Taken(), f"the losses of {type(optimization.model).__name__}"
    for name in losses:
        check_column(name, owner)
    taken.add(losses, owner)
    for name in optimization.options():
        check_column(name, "optimization.rules")
    taken.add(optimization.options(), "the optimizers' options")
    taken.add(optimization.coefficients(), "the schedules of coefficients")
    return taken


def having(key: str) -> list[str]:
    """Names in config/data whose data sets have this key in their batches."""
    return [file.stem for file in sorted((config_folder() / "data").glob("*.yaml")) if key in _keys(file)]


def _keys(file: Path) -> tuple[str, ...]:
    """Keys of a data set's batches, from its config and without reading it; () if they depend on missing files."""
    module, _, name = str(OmegaConf.select(OmegaConf.load(file), "_target_")).rpartition(".")
    keys = getattr(getattr(import_module(module), name), "keys", DataSet.keys)
    if isinstance(keys, property) and keys is not DataSet.keys:  # depends on the data set's parts
        try:
            made: DataSet = instantiate(resolved(compose([f"data={file.stem}"]).data))
            return made.keys
        except UserError:  # its files are not here
            return ()
    return keys if isinstance(keys, tuple) else ()


def _distributions(model: nn.Module) -> set[str]:
    """The paths of the networks that a model's constructor, or that of a model in it, takes as distributions."""
    found = set()
    for path, part in model.named_modules():
        if isinstance(part, Model):
            hints = hints_of(type(part))
            names = [name for name, _ in part.named_children() if hints.get(name) is ConditionalDistribution]
            found |= {f"{path}.{name}" if path else name for name in names}
    return found


def _unfit(name: str, module: nn.Module, args: tuple[Any, ...], reason: str, shape: Any) -> str:
    """Why a network failed on its input."""
    network = f"model.{name} ({type(module).__name__})"
    inputs = [x for x in args if isinstance(x, Tensor)]
    if "type" in reason and any(x.dtype in (torch.int32, torch.int64) for x in inputs):
        return (
            f"{network} takes floats, and x {shape} holds whole numbers: store measurements as floats, or choose a "
            "network for counts or tokens"
        )
    shapes = "".join(f" {list(x.shape)}" for x in inputs)
    return f"{network} does not fit its input{shapes}: {reason} (x is {shape})"


@contextmanager
def naming_shapes(model: nn.Module, batch: Batch, prefix: str = "") -> Iterator[None]:
    """Converts torch's error about shapes to a UserError that names the network.

    Raises:
        UserError: also if a network returns no distribution although its model's constructor asks for one.
    """
    entered: list[tuple[str, nn.Module, tuple[Any, ...]]] = []
    handles = []
    distributions = _distributions(model)
    for name, module in model.named_modules():
        if name:

            def enter(module: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                entered.append((name, module, args))

            def leave(module: nn.Module, args: tuple[Any, ...], output: Any, name: str = name) -> None:
                entered.pop()
                if name in distributions and not isinstance(output, Distribution):
                    raise UserError(
                        f"model.{name} ({type(module).__name__}) returns a {type(output).__name__} instead of a "
                        "distribution: put a head on it; an encoder is a frame.architectures.base.Encoder of both"
                    )

            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        key = error.args[0] if isinstance(error, KeyError) and error.args and not entered else None
        if isinstance(key, str) and key not in batch:
            there = ", ".join(sorted(keys_in(batch)))
            raise UserError(f"{prefix}{type(model).__name__} reads '{key}' of a batch, which has: {there}") from error
        usual = isinstance(error, RuntimeError | ValueError | IndexError | TypeError)
        if not usual and faults.place_of(error) is None:  # a fault of ours
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = reason if usual else f"{type(error).__name__}: {reason}"
        shape = list(batch["x"].shape) if isinstance(batch["x"], Tensor) else "x"
        if not entered:
            raise UserError(f"{prefix}{type(model).__name__} fails on a batch {shape}: {reason}") from error
        raise UserError(prefix + _unfit(*entered[-1], reason, shape)) from error
    finally:
        for handle in handles:
            handle.remove()
