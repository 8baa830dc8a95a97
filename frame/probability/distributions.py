"""Distributions that torch lacks, and samples that can be vectorised.

The values of those over pictures are levels, 0, 1/(L-1), ..., 1, so their log-probabilities are likelihoods.
"""

import math
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, constraints

SCALAR = torch.Size()
D = TypeVar("D", bound=Distribution)
Events = TypeVar("Events", bound=Independent)


class Delta(Distribution):
    """All mass at `loc` [B, *event], such as the output of a deterministic encoder."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape[:1], loc.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Delta":
        return Delta(self.loc.expand(*batch_shape, *self.event_shape))


class IndependentBernoulli(Independent):
    """Bernoulli variables, the last dimensions of which are one event; `log_prob` needs fewer operations than torch's.

    Values between 0 and 1 are accepted: their log-probability is a cross-entropy.
    """

    base_dist: Bernoulli

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, batch_shape."""
        return -self.cross_entropy(value)

    def cross_entropy(self, value: Tensor) -> Tensor:
        """-log p(value): the sum of the cross-entropies over the event, nats, batch_shape."""
        logits = self.base_dist.logits
        if logits.shape != value.shape:
            logits, value = torch.broadcast_tensors(logits, value)
        value = value.to(logits.dtype)  # labels are truth values
        each = F.binary_cross_entropy_with_logits(logits, value, reduction="none")
        return summed(each, self.reinterpreted_batch_ndims)


class FlatBernoulli(IndependentBernoulli):
    """The same, of events of any shape, from flat logits. They take that shape only if it is asked for.

    Args:
        logits: [*batch_shape, D].
        event_shape: D values.
    """

    def __init__(self, logits: Tensor, event_shape: torch.Size) -> None:
        self.flat = logits
        self.reinterpreted_batch_ndims = len(event_shape)
        self._batch_shape, self._event_shape, self._validate_args = logits.shape[:-1], event_shape, False

    @property
    def base_dist(self) -> Bernoulli:  # type: ignore[override]
        return bernoulli(self.flat.unflatten(-1, self._event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "FlatBernoulli":
        return FlatBernoulli(self.flat.expand(*batch_shape, -1), self._event_shape)

    def cross_entropy(self, value: Tensor) -> Tensor:
        n_batch = len(self._batch_shape)
        if value.shape != self._batch_shape + self._event_shape:
            return super().cross_entropy(value)
        return F.binary_cross_entropy_with_logits(self.flat, value.flatten(n_batch), reduction="none").sum(-1)


class IndependentNormal(Independent):
    """Normal variables, the last dimensions of which are one event; `log_prob` needs fewer operations than torch's."""

    base_dist: Normal

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, batch_shape."""
        loc, scale = self.base_dist.loc, self.base_dist.scale
        # log p(x) = -sum over d of [((x - mu) / sigma)^2 / 2 + log sigma] - D log(2 pi) / 2
        terms = torch.add(scale.log(), ((value - loc) / scale).square(), alpha=0.5)
        n_dims = self.event_shape.numel()
        return -summed(terms, self.reinterpreted_batch_ndims) - n_dims * 0.5 * math.log(2 * math.pi)


class StandardNormal(IndependentNormal):
    """N(0, I). KL divergences from it know that its means are 0 and its scales 1."""


def negative_log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    """-log p(value), nats, batch_shape."""
    if isinstance(distribution, IndependentBernoulli):
        return distribution.cross_entropy(value)
    return -distribution.log_prob(value)


def summed(terms: Tensor, n_dims: int) -> Tensor:
    """The sum over the last dimensions."""
    return terms.sum(tuple(range(-n_dims, 0))) if n_dims else terms


_EVENTS: dict[type, type[Independent]] = {Bernoulli: IndependentBernoulli, Normal: IndependentNormal}


def independent(values: Distribution, n_dims: int) -> Independent:
    """The distribution whose events are the last `n_dims` dimensions of `values`, with the quickest log_prob."""
    return _independent(_EVENTS.get(type(values), Independent), values, n_dims)


def bernoulli(logits: Tensor) -> Bernoulli:
    """A Bernoulli variable for each logit."""
    return _made(Bernoulli, logits.shape, logits=logits, _param=logits)


def normal(loc: Tensor, scale: Tensor) -> Normal:
    """A Normal variable for each location and scale; both have the same shape."""
    return _made(Normal, loc.shape, loc=loc, scale=scale)


def diagonal_normal(loc: Tensor, scale: Tensor) -> IndependentNormal:
    """N(loc, diag(scale^2)): the last dimension is the event. Both have the same shape, or they are broadcast."""
    values = normal(loc, scale) if loc.shape == scale.shape else Normal(loc, scale, validate_args=False)
    return _independent(IndependentNormal, values, 1)


def standard_normal(loc: Tensor, scale: Tensor) -> StandardNormal:
    """N(0, I), from zeros and ones [z_dim] that lie on its device."""
    return _independent(StandardNormal, normal(loc, scale), 1)


def _independent(kind: type[Events], values: Distribution, n_dims: int) -> Events:
    batch = values._batch_shape
    cut = len(batch) - n_dims
    event = batch[cut:] + values._event_shape if values._event_shape else batch[cut:]
    return _made(kind, batch[:cut], event, base_dist=values, reinterpreted_batch_ndims=n_dims)


def _made(kind: type[D], batch_shape: torch.Size, event_shape: torch.Size = SCALAR, **attributes: Any) -> D:
    """A distribution of torch's without its constructor, which broadcasts and checks: that takes as long as a layer."""
    made = kind.__new__(kind)
    made.__dict__ |= {"_batch_shape": batch_shape, "_event_shape": event_shape, "_validate_args": False, **attributes}
    return made


def rsample(distribution: Distribution, sample_shape: tuple[int, ...] = (), n_blocks: int = 1) -> Tensor:
    """A reparametrised sample, shape sample_shape + batch_shape + event_shape.

    Gaussian noise comes from `randn_like`, because the in-place noise in `Normal.rsample` cannot be vectorised.

    Args:
        distribution: of any kind that has reparametrised samples.
        sample_shape: of independent samples.
        n_blocks: blocks of equally many rows that share their Gaussian noise, so that less noise is in the difference
            of two blocks; not together with sample_shape. Other distributions draw noise for each row.
    """
    base = distribution.base_dist if isinstance(distribution, Independent) else distribution
    if isinstance(base, Normal):
        loc = base.loc.expand(*sample_shape, *base.loc.shape) if sample_shape else base.loc
        if n_blocks > 1:
            noise = torch.randn_like(loc[: len(loc) // n_blocks])
            return torch.addcmul(loc, base.scale, noise.repeat(n_blocks, *[1] * (loc.dim() - 1)))
        # z = mu + sigma * eps
        return torch.addcmul(loc, base.scale, torch.randn_like(loc))
    return distribution.rsample(sample_shape)


class DiscretisedLogistic(Distribution):
    """A logistic variable with mean `loc` and scale `scale`, rounded to the nearest of `levels` values in [0, 1].

    The lowest level has all mass below it and the highest all mass above it, so the probabilities of all levels sum
    to 1. Values between two levels are rounded to the nearest.
    Source: Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow" (1606.04934), eq. 13,
    with the open ends of Salimans et al. 2017 (1701.05517), section 2.1.

    Args:
        loc: location, any shape, in the units of pictures in [0, 1].
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
        # the two borders of the level, in units of the scale
        lower = ((level - 0.5) / steps - self.loc) / self.scale
        upper = ((level + 0.5) / steps - self.loc) / self.scale
        # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)) is precise in the tails; u - l = 1 / (steps * scale)
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
    """Each value is one of L levels in [0, 1]; each level has a free probability.

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
        """Nats, shape of `value`, which is `batch_shape`; values between two levels are rounded to the nearest."""
        level = (value * (self.levels - 1)).round().long()
        return self.logits.gather(-1, level.unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.logits.exp() @ torch.linspace(0, 1, self.levels, device=self.logits.device)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            level = Categorical(logits=self.logits, validate_args=False).sample(torch.Size(sample_shape))
            return level / (self.levels - 1)


class NormalMixture(Distribution):
    """Sum over k of w_k N(loc_k, diag(scale_k^2)): batch_shape (), event_shape (z_dim,).

    Args:
        logits: [K], log w_k up to a constant.
        loc, scale: [K, z_dim].
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.log_w = logits.log_softmax(-1)
        self.loc, self.scale = loc, scale
        super().__init__(event_shape=loc.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """z [..., z_dim] -> [...], nats."""
        # sum over d of ((z - loc) / scale)^2 as matrix products, without the [..., K, z_dim] differences; in float64,
        # because the squares cancel
        z, loc, precision = value.double(), self.loc.double(), self.scale.double().pow(-2)  # [..., D], [K, D], [K, D]
        squares = z.square() @ precision.T - 2 * z @ (loc * precision).T + (loc.square() * precision).sum(-1)
        log_det = self.scale.log().sum(-1) + 0.5 * self.loc.shape[-1] * math.log(2 * math.pi)
        # log p(z) = logsumexp over k of log w_k + log N(z | loc_k, scale_k)
        return (self.log_w - log_det - 0.5 * squares.to(value.dtype)).logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        return self.log_w.exp() @ self.loc

    @property
    def variance(self) -> Tensor:
        return self.log_w.exp() @ (self.scale.square() + self.loc.square()) - self.mean.square()

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            # k by inversion: torch.multinomial cannot be vectorised with the same noise
            below = torch.rand(math.prod(sample_shape), 1, device=self.loc.device) > self.log_w.exp().cumsum(0)
            k = below.sum(1).clamp(max=len(self.log_w) - 1)  # [S]
            z = self.loc[k] + self.scale[k] * torch.randn_like(self.loc[k])
            return z.view(*sample_shape, *self.event_shape)


class PaddedSeries(Distribution):
    """Series of several lengths, batch_shape (...), event_shape [C + 1, T]: values, and m_t = 1 at steps with data.

    log p(x, m) = sum_t [log Bernoulli(m_t) + m_t sum_c log N(x_ct | loc_ct, scale_ct^2)], and x_ct is 0 where m_t is 0.

    Args:
        loc, scale: of the values, [..., C, T].
        logits: of m, [..., T].
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, loc: Tensor, scale: Tensor, logits: Tensor) -> None:
        self.loc, self.scale, self.logits = loc, scale, logits
        *batch, n_channels, n_steps = loc.shape
        super().__init__(torch.Size(batch), torch.Size([n_channels + 1, n_steps]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, batch_shape."""
        x, m = value[..., :-1, :], value[..., -1, :]
        of_m = m * self.logits - F.softplus(self.logits)
        of_x = -0.5 * ((x - self.loc) / self.scale).square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        return (of_m + m * of_x.sum(-2)).sum(-1)

    @property
    def mean(self) -> Tensor:
        p = self.logits.sigmoid().unsqueeze(-2)  # [..., 1, T]
        return torch.cat([p * self.loc, p], -2)

    @property
    def variance(self) -> Tensor:
        p = self.logits.sigmoid().unsqueeze(-2)
        of_x = p * (self.scale.square() + self.loc.square()) - (p * self.loc).square()
        return torch.cat([of_x, p * (1 - p)], -2)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            values = (*sample_shape, *self.loc.shape)
            x = self.loc + self.scale * torch.randn(values, dtype=self.loc.dtype, device=self.loc.device)
            m = (torch.rand_like(x[..., 0, :]) < self.logits.sigmoid()).to(x.dtype).unsqueeze(-2)
            return torch.cat([m * x, m], -2)


class CountsOfLibrary(Distribution):
    """Counts x [G] of a cell whose library size l = sum_g x_g is known: negative binomials of mean l rho_g.

    p(x|l) = prod_g NB(x_g; mean l rho_g, inverse dispersion theta_g), of variance mean + mean^2 / theta (Lopez et al.
    2018, scVI, with the observed library size). `log_prob` takes l from its argument, so it is conditional on l; means
    and samples have l = `library`, see `like`.

    Args:
        log_rho: [*batch, G], log of the shares of the genes, which sum to 1.
        theta: [G], positive.
        library: a number, or [*batch, 1].
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, log_rho: Tensor, theta: Tensor, library: float | Tensor) -> None:
        self.log_rho, self.theta, self.library = log_rho, theta, library
        super().__init__(log_rho.shape[:-1], log_rho.shape[-1:], validate_args=False)

    def like(self, x: Tensor) -> "CountsOfLibrary":
        """The same for cells with the library sizes of x [*batch, G]."""
        return CountsOfLibrary(self.log_rho, self.theta, x.float().sum(-1, keepdim=True))

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, batch_shape."""
        x, theta = value.float(), self.theta
        log_mean = x.sum(-1, keepdim=True).clamp(min=1).log() + self.log_rho
        # log(theta + mean), also where the mean is far below theta
        log_total = torch.logaddexp(theta.log(), log_mean)
        ways = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
        return (ways + theta * (theta.log() - log_total) + x * (log_mean - log_total)).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.library * self.log_rho.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self.mean.square() / self.theta

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            rate = torch.distributions.Gamma(self.theta.expand_as(self.mean), self.theta / self.mean.clamp(min=1e-12))
            return torch.poisson(rate.sample(torch.Size(sample_shape)))


def like(distribution: Distribution, x: Tensor) -> Distribution:
    """p(x|z) for rows that have the known quantities of x, such as a cell's library size; others do not change."""
    known = getattr(distribution, "like", None)
    return distribution if known is None else known(x)
