"""Distributions over pictures whose values are levels: 0, 1/(L-1), ..., 1. Their log-probabilities are likelihoods."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints


class DiscretisedLogistic(Distribution):
    """A logistic variable with mean `loc` and scale `scale`, rounded to the nearest of `levels` values in [0, 1].

    Everything below the lowest level counts as the lowest, everything above the highest as the highest, so the
    probabilities of all levels sum to 1. Values between two levels are taken for the nearest.
    Source: Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow" (1606.04934), eq. 13,
    with the open ends of Salimans et al. 2017 (1701.05517), section 2.1.

    Args:
        loc: location, any shape, in units in which pictures lie in [0, 1].
        scale: positive, broadcastable with `loc`.
        levels: number of values, 256 for pictures of 8 bits.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = False) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(batch_shape=self.loc.shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, shape of `value` broadcast with `loc`."""
        steps = self.levels - 1
        level = (value * steps).round()
        # The level's two borders, in units of the scale
        lower = ((level - 0.5) / steps - self.loc) / self.scale
        upper = ((level + 0.5) / steps - self.loc) / self.scale
        # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)) loses no digits in the tails; u - l = 1 / (steps * scale)
        log_above, log_below = F.logsigmoid(-lower), F.logsigmoid(upper)
        inside = log_below + log_above + torch.log(-torch.expm1(-1 / (steps * self.scale)))
        return torch.where(level <= 0, log_below, torch.where(level >= steps, log_above, inside))

    @property
    def mean(self) -> Tensor:
        """Exact: E[level] = sum over k of P(level >= k)."""
        steps = self.levels - 1
        total = torch.zeros_like(self.loc)
        for k in range(1, self.levels):
            total = total + torch.sigmoid((self.loc - (k - 0.5) / steps) / self.scale)
        return total / steps

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            uniform = torch.rand(self._extended_shape(torch.Size(sample_shape)), device=self.loc.device)
            x = self.loc + self.scale * uniform.clamp(1e-7, 1 - 1e-7).logit()
            return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)


class CategoricalLevels(Distribution):
    """Each value is one of L levels in [0, 1], with a free probability for each.

    Args:
        logits: [*shape, L]; batch_shape is `shape`.
    """

    arg_constraints = {"logits": constraints.real_vector}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, validate_args: bool | None = False) -> None:
        self.logits = logits.log_softmax(-1)
        self.levels = logits.shape[-1]
        super().__init__(batch_shape=logits.shape[:-1], validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, shape of `value`, which is `batch_shape`; values between two levels are taken for the nearest."""
        level = (value * (self.levels - 1)).round().long()
        return self.logits.gather(-1, level.unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.logits.exp() @ torch.linspace(0, 1, self.levels, device=self.logits.device)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            level = Categorical(logits=self.logits, validate_args=False).sample(torch.Size(sample_shape))
            return level / (self.levels - 1)
