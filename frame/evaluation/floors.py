"""Codes that need no training. A method's code must beat these floors to be worth reporting."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, count, islice
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.common.ranks import in_parts
from frame.common.seeds import random_states
from frame.data.base import Batch, DataSet
from frame.evaluation.base import batches, device_of, evaluating
from frame.evaluation.codes import LAYERS
from frame.evaluation.shards import seeded
from frame.measures.pca import PCA
from frame.probability.distributions import Delta

FLOORS = ("pixels", "pca", "untrained")  # measured unless others are asked for
ALL_FLOORS = ("pixels", "pca", "whitened", "untrained")
N_WHITENED = 50
Floor = str | nn.Module
Rows = tuple[Tensor, Tensor]  # codes [N, D] and classes [N]


def check_floors(floors: Sequence[Floor]) -> tuple[Floor, ...]:
    """The floors: words of ALL_FLOORS, or networks with a name and encode(x), such as a `Frozen`.

    Raises:
        UserError: a floor is anything else, or two have one name.
    """
    words = [floor for floor in floors if not isinstance(floor, nn.Module)]
    for floor in words:
        if floor not in ALL_FLOORS:
            raise UserError(choices(str(floor), ALL_FLOORS, kind="floor"))
    taken = [*words]
    for network in _networks(floors):
        name = getattr(network, "name", None)
        if not isinstance(name, str) or not hasattr(network, "encode"):
            raise UserError(f"the floor {type(network).__name__} has no name and encode(x): take architectures.frozen")
        if name in taken or name.startswith("untrained"):
            raise UserError(f"two floors are called {name}: give the network another name=...")
        taken.append(name)
    return tuple(floors)


def _networks(floors: Sequence[Floor]) -> list[Any]:
    return [floor for floor in floors if isinstance(floor, nn.Module)]


def floor_names(floors: Sequence[Floor], layers: Sequence[str]) -> list[str]:
    """The names under which `floor_codes` gives these floors."""
    names = [floor for floor in ALL_FLOORS[:-1] if floor in floors]
    names += [network.name for network in _networks(floors)]
    return names + [_untrained(layer) for layer in layers if "untrained" in floors]


def _untrained(layer: str) -> str:
    return "untrained" if layer == "mean" else f"untrained_{layer}"


def floor_codes(
    floors: Sequence[Floor],
    model: nn.Module,
    data: DataSet,
    split: str,
    layers: Sequence[str],
    size: int,
    rows: Callable[[nn.Module, str], tuple[Rows, ...]],
) -> Iterator[tuple[str, tuple[Rows, ...]]]:
    """The name of each floor, and its rows: first those that a probe learns from, then the others.

    Args:
        floors: any of ALL_FLOORS, and networks; 'whitened' is the first N_WHITENED principal components, each with
            variance 1.
        model: the model whose untrained copy is a floor.
        data, split: a few of these rows show which parameters the copy uses.
        layers: layers of the untrained copy; all but 'mean' are part of the floor's name.
        size: number of principal components.
        rows: gives the rows of a model's layer; a probe and the components learn from the first.
    """
    if {"pixels", "pca", "whitened"} & set(floors):
        pixels = rows(Pixels(), "mean")
        if "pixels" in floors:
            yield "pixels", pixels
        if "pca" in floors:
            pca = PCA(pixels[0][0], size)
            yield "pca", tuple((pca(x), y) for x, y in pixels)
        if "whitened" in floors:
            whitened = PCA(pixels[0][0], N_WHITENED, whiten=True)
            yield "whitened", tuple((whitened(x), y) for x, y in pixels)
    for network in _networks(floors):
        yield network.name, rows(network.to(device_of(model)), "mean")
    if "untrained" in floors:
        few = next(batches(model, data, split, 2))
        for layer in layers:
            fresh = as_before_training(model) or untrained(model, _layer_of(few, layer))
            settle(fresh, LAYERS[layer][1], data)
            yield _untrained(layer), rows(fresh, layer)


def _layer_of(few: Batch, layer: str) -> Callable[[nn.Module], Tensor]:
    return lambda model: LAYERS[layer][1](model, few)


class Pixels(nn.Module):
    """A model whose code is x."""

    def encode(self, x: Tensor) -> Delta:
        """x as it is, [B, D]."""
        return Delta(x.flatten(1))


def settle(fresh: nn.Module, take: Callable[[Any, Batch], Tensor], data: DataSet) -> None:
    """Runs training batches through an untrained network, so that its batch norms have running statistics.

    Without them the untrained code would be worse for another reason than its weights.

    Args:
        fresh: the untrained network; only its buffers change.
        take: computes the code of a batch.
    """
    if next(fresh.buffers(), None) is None:
        return
    with evaluating(fresh):  # restores its modes
        fresh.train()
        passes = (batches(fresh, data, "train", None, 128) for _ in count())
        for batch in islice(chain.from_iterable(passes), 100):  # at a momentum of 0.1 the first values are forgotten
            take(fresh, batch)


_run: ContextVar[tuple[Callable[[], nn.Module], int] | None] = ContextVar("run", default=None)


@contextmanager
def floors_of(build: Callable[[], nn.Module], seed: int) -> Iterator[None]:
    """Within this context the untrained copy is what `build` returns after `seed`: a run's model before its training.

    Args:
        build: builds the model from the run's config.
        seed: `seeds.init` of the run.
    """
    token = _run.set((build, seed))
    try:
        yield
    finally:
        _run.reset(token)


def as_before_training(model: nn.Module) -> nn.Module | None:
    """The model of the run that is measured with its first weights, where `model` is; None outside of a run."""
    run = _run.get()
    if run is None:
        return None
    build, seed = run
    with random_states() as seed_all:
        seed_all(seed)
        fresh = build()
    if not in_parts(fresh):  # parts are where they compute
        fresh = fresh.to(next(chain(model.parameters(), model.buffers()), torch.empty(0)).device)
    return fresh.requires_grad_(False).eval()


def untrained(model: nn.Module, depends: Callable[[nn.Module], Tensor] | None = None, seed: int = 0) -> nn.Module:
    """A copy of `model` with newly drawn weights, for a model that belongs to no run.

    Every module with `reset_parameters` is reset, running statistics of normalisations included. Other parameters
    keep their values, which is an error if `depends` shows that the result uses them.

    Args:
        model: stays as it is.
        depends: computes what will be used of the copy, on a few rows; None means all of it.
        seed: seed of the weights.

    Raises:
        UserError: a parameter that is used belongs to a module without `reset_parameters`.
    """
    fresh = copy.deepcopy(model).requires_grad_(True)
    kept: dict[str, Tensor] = {}
    with seeded(seed):
        # from the inside out, so that a module can overwrite what its parts did
        for name, module in reversed(list(fresh.named_modules())):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            else:
                kept |= {f"{name}.{key}".lstrip("."): p for key, p in module.named_parameters(recurse=False)}
    if kept and depends is not None:
        with torch.enable_grad():
            total = depends(fresh).sum()
            leaves = list(kept.values())
            used = (
                torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * len(leaves)
            )
        kept = {name: p for (name, p), gradient in zip(kept.items(), used, strict=True) if gradient is not None}
    if kept:
        raise UserError(
            f"{type(model).__name__} has no untrained copy: give the module of {next(iter(kept))} a method "
            "reset_parameters(), measure a run of it, or leave 'untrained' out of floors"
        )
    return fresh.requires_grad_(False)


@contextmanager
def floors_of_part(part: str) -> Iterator[None]:
    """Within this context the untrained copy is a part of what it was."""
    found = _run.get()
    if found is None:
        yield
        return
    build, seed = found
    with floors_of(lambda: build().get_submodule(part), seed):
        yield
