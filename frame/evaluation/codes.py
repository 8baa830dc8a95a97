"""The codes of a split, encoded once for all measures that use them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.common.files import write_whole
from frame.data.base import Batch, DataSet
from frame.evaluation.base import (
    Encodes,
    Evaluation,
    HasFeatures,
    Unsuited,
    batches,
    evaluating,
    given,
    methods_of,
    over_rows,
)
from frame.probability.distributions import rsample


@dataclass(frozen=True)
class Codes:
    """One layer's output for rows of a split, on the CPU, with the labels and factors of the same rows."""

    codes: Tensor  # [N, D], float32
    y: Tensor | None  # [N]
    factors: Tensor | None  # [N, K]


def mean_code(model: Any, batch: Batch) -> Tensor:
    """The mean of q(z|x), [B, D]."""
    code: Tensor = model.encode(*given(model, batch)).mean
    return code.flatten(1)


def sampled_code(model: Any, batch: Batch) -> Tensor:
    """One sample of q(z|x), [B, D]."""
    return rsample(model.encode(*given(model, batch))).flatten(1)


def layer_before(model: Any, batch: Batch) -> Tensor:
    """The layer before the encoder's output, [B, D]."""
    code: Tensor = model.features(*given(model, batch))
    return code.flatten(1)


# by the layer's name in records: the capability that it needs, and how its code is computed
LAYERS: dict[str, tuple[type, Callable[[Any, Batch], Tensor]]] = {
    "mean": (Encodes, mean_code),
    "sample": (Encodes, sampled_code),
    "features": (HasFeatures, layer_before),
}


def check_layers(layers: Sequence[str]) -> tuple[str, ...]:
    """Raises UserError for a layer that does not exist."""
    for layer in layers:
        if layer not in LAYERS:
            raise UserError(choices(layer, LAYERS, kind="layer"))
    return tuple(layers)


def layers_of(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Those of the layers that a model has."""
    return [layer for layer in layers if isinstance(model, LAYERS[layer][0])]


def named(layer: str, name: str) -> str:
    """The key of a number of a layer: 'features/rankme', and 'rankme' for the mean."""
    return name if layer == "mean" else f"{layer}/{name}"


def require_layers(evaluation: Evaluation, model: nn.Module, layers: Sequence[str]) -> None:
    """Raises Unsuited if a model has none of the layers that an evaluation measures."""
    if not layers_of(model, layers):
        capability = LAYERS[layers[0]][0] if layers else object
        raise Unsuited(
            f"{type(evaluation).__name__} needs a model that has {', '.join(methods_of(capability))}(); "
            f"{type(model).__name__} has none",
            capabilities=[(LAYERS[layer][0],) for layer in layers],
        )


_cache: ContextVar[Path | None] = ContextVar("cache", default=None)


@contextmanager
def caching(folder: Path) -> Iterator[None]:
    """Within this context, codes are cached in `folder`. Without it they are encoded each time."""
    token = _cache.set(folder)
    try:
        yield
    finally:
        _cache.reset(token)


def codes_of(
    model: nn.Module, data: DataSet, split: str, layer: str = "mean", n_samples: int | None = None, seed: int = 0
) -> Codes:
    """The same `n_samples` rows of the split each time (all of it if None or more), through one layer of the model.

    The cached file's name is a hash of the weights, the data and the arguments, so that a changed encoder never reads
    old codes.

    Raises:
        UserError: the layer is unknown, or the model does not have it.
    """
    if layer not in LAYERS:
        raise UserError(choices(layer, LAYERS, kind="layer"))
    capability, take = LAYERS[layer]
    if not isinstance(model, capability):
        method = "features" if layer == "features" else "encode"
        raise UserError(f"{type(model).__name__} has no {method}(), so no layer '{layer}': choose another")
    folder = _cache.get()
    if folder is None:
        return _encode(model, data, split, take, n_samples, seed)
    file = folder / f"{split}-{layer}-{_fingerprint(model, data, split, layer, n_samples, seed)}.pt"
    if file.exists():
        found = torch.load(file, weights_only=True, mmap=True)
        return Codes(found["codes"], found["y"], found["factors"])
    codes = _encode(model, data, split, take, n_samples, seed)
    with suppress(OSError, RuntimeError):  # full disk or read-only folder: encoded again next time
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda stream: torch.save(vars(codes), stream))
    return codes


def labelled_codes(
    model: nn.Module, data: DataSet, split: str, layer: str, n_samples: int | None = None
) -> tuple[Tensor, Tensor]:
    """Codes [N, D] and classes [N] of a split that has classes; see `codes_of`."""
    found = codes_of(model, data, split, layer, n_samples)
    assert found.y is not None
    return found.codes, found.y


def _encode(
    model: nn.Module, data: DataSet, split: str, take: Callable[[Any, Batch], Tensor], n_samples: int | None, seed: int
) -> Codes:
    def of(batch: Batch) -> dict[str, Tensor]:
        known: dict[str, Tensor] = {key: batch[key] for key in ("y", "factors") if key in batch}
        return known | {"codes": take(model, batch).float()}

    with evaluating(model):
        found = over_rows(model, data, split, n_samples, of, seed=seed)
    return Codes(found["codes"], found.get("y"), found.get("factors"))


def _fingerprint(model: nn.Module, data: DataSet, *arguments: Any) -> str:
    """A hash of the weights, of the data's first rows and size, and of the arguments."""
    digest = hashlib.sha256(repr((type(model).__qualname__, type(data).__qualname__, arguments)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    source = data.split(str(arguments[0]))
    digest.update(repr(len(source)).encode())
    row = next(batches(model, data, str(arguments[0]), min(16, len(source))))
    digest.update(row["x"].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
