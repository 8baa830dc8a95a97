"""Whether p(x|z) is a probability mass function over the data's values, so that nats can be converted to bits."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from frame.data.base import Batch
from frame.evaluation.base import Decodes, Encodes, Scalar, given
from frame.measures.likelihood import bits_per_dimension
from frame.measures.statistics import mean_and_standard_error

BITS = "bits per dimension"


@runtime_checkable
class _EncodesAndDecodes(Encodes, Decodes, Protocol):
    pass


def levels_of(model: nn.Module, batch: Batch) -> int | None:
    """The number of values to which p(x|z) gives a probability, if all pixels of the batch are among them.

    2 for a Bernoulli, else the distribution's `levels`. None for a density, and for a Bernoulli of grey pixels, because
    its cross-entropy is not the logarithm of a probability.
    """
    if not isinstance(model, _EncodesAndDecodes):
        return None
    x, *others = (part[:1] for part in given(model, batch))
    p_x_given_z: Any = model.decode(model.encode(x, *others).mean, *others)
    values = p_x_given_z.base_dist if isinstance(p_x_given_z, Independent) else p_x_given_z
    levels = 2 if isinstance(values, Bernoulli) else getattr(values, "levels", None)
    return levels if levels is not None and on_levels(batch["x"], levels) else None


def on_levels(x: Tensor, levels: int) -> bool:
    """Whether all values of x are among 0, 1 / (levels - 1) ... 1, as they are or rounded to 8 bits."""
    off = (x - (x * (levels - 1)).round() / (levels - 1)).abs()
    eight_bits = (x * 255 - (x * 255).round()).abs() < 1e-3
    there = (off < 1e-5) | (eight_bits & (off * 255 <= 0.501))
    return bool(there.all() and x.min() >= 0 and x.max() <= 1)


def bits_declared(model: nn.Module, batch: Batch) -> dict[str, str]:
    """What `bits` adds for such batches: units by name."""
    return {} if levels_of(model, batch) is None else {"bits_per_dim": BITS}


def bits_of(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What `bits` must know of a batch: 'levels' and 'n_dims' of a row, [1] each."""
    return {
        "levels": torch.tensor([levels_of(model, batch) or 0]),
        "n_dims": torch.tensor([batch["x"][0].numel()]),
    }


def bits(bounds: Tensor, of: Mapping[str, Tensor], how: str) -> dict[str, Scalar]:
    """'bits_per_dim' of bounds [N] on log p(x) in nats; {} if p(x|z) of a batch has no levels.

    Args:
        bounds: the bound of each row.
        of: what `bits_of` gave for each batch, concatenated.
        how: what is divided, for the record.
    """
    levels, n_dims = of["levels"], int(of["n_dims"][0])
    if not levels.all():
        return {}
    mean, error = mean_and_standard_error(bits_per_dimension(bounds, n_dims))
    estimator = f"{how} over {n_dims} ln 2, an upper bound; p(x|z) of {int(levels[0])} values, which pixels have"
    scalar = Scalar(mean, BITS, len(bounds), estimator, error, bound="upper", better="less")
    return {"bits_per_dim": scalar}
