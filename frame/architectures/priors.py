"""Learned priors p(z) with batch_shape (), and `ClassNormal`, a learned p(z|y) with batch_shape (B,).

A model passes its encoder to its prior. Only `VampPrior` uses it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.func import functional_call

from frame.architectures.heads import DiagonalNormalHead
from frame.architectures.layers import mlp, one_hot
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import NormalMixture, standard_normal


class VampPrior(ConditionalDistribution):
    """p(z) = 1/K sum over k of q(z|u_k): the codes of K learned pseudo-inputs u_k in [0, 1].

    Tomczak & Welling 2018, "VAE with a VampPrior" (1705.07120), eq. 9. Here q(z|x) must be a diagonal Gaussian.
    As in the authors' code, the pseudo-inputs start near `mean` and are clipped to [0, 1] when they are used.

    Args:
        z_dim: the encoder's number of latents.
        n_components: K. The encoder reads K more rows in each step.
        shape: shape of one picture.
        mean, std: mean and standard deviation of the pseudo-inputs' initial values.

    Raises:
        UserError: z_dim or n_components is below 1. When it is called: there is no encoder, or there is a class.
    """

    def __init__(
        self, z_dim: int, n_components: int, shape: Sequence[int], mean: float = 0.05, std: float = 0.01
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, n_components=n_components)
        self.z_dim = z_dim
        self.pseudo_inputs = nn.Parameter(mean + std * torch.randn(n_components, *shape))

    def forward(self, y: Tensor | None = None, *, encoder: Callable[..., Distribution] | None = None) -> NormalMixture:
        if y is not None:
            raise UserError("a VampPrior has no class: take ClassNormal, which has one, or DiagonalNormal")
        if encoder is None:
            raise UserError("a VampPrior needs the model's encoder: take a model that has one, or DiagonalNormal")
        q_z_given_u = encoder(self.pseudo_inputs.clamp(0, 1))  # batch_shape (K,)
        loc, scale = q_z_given_u.mean, q_z_given_u.stddev
        return NormalMixture(torch.zeros_like(loc[:, 0]), loc, scale)


class MixturePrior(ConditionalDistribution):
    """p(z) = sum over k of w_k N(loc_k, diag(scale_k^2)); weights, means and scales are learned.

    The mixture of Tomczak & Welling 2018, section 2 ("MoG"). It starts with equal weights, unit scales and means from
    N(0, I).

    Raises:
        UserError: z_dim < 1 or n_components < 1.
    """

    def __init__(self, z_dim: int, n_components: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, n_components=n_components)
        self.z_dim = z_dim
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.loc = nn.Parameter(torch.randn(n_components, z_dim))
        self.log_scale = nn.Parameter(torch.zeros(n_components, z_dim))

    def forward(self, y: Tensor | None = None, *, encoder: Callable[..., Distribution] | None = None) -> NormalMixture:
        return NormalMixture(self.logits, self.loc, self.log_scale.exp())


class Coupling(nn.Module):
    """An invertible map z -> eps. Half of the latents, z_a, stay and determine scale and shift of the others, z_b.

    eps_b = (z_b - t(z_a)) * exp(-s(z_a)). |s| is below `limit`, so that both directions are stable.
    """

    kept: Tensor

    def __init__(self, z_dim: int, layers: Sequence[int], odd: bool, limit: float = 3.0) -> None:
        super().__init__()
        self.register_buffer("kept", (torch.arange(z_dim) % 2 == int(odd)).float())
        self.hidden = mlp(z_dim, layers, nn.Tanh())
        self.linear = nn.Linear([z_dim, *layers][-1], 2 * z_dim)
        self.limit = limit
        with torch.no_grad():  # starts close to the identity
            self.linear.weight.mul_(0.01)
            self.linear.bias.zero_()

    def shift_and_log_scale(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """t and s, both [..., z_dim]. They are 0 for the latents that are kept."""
        t, s = self.linear(self.hidden(z * self.kept)).float().chunk(2, dim=-1)
        return t * (1 - self.kept), self.limit * torch.tanh(s / self.limit) * (1 - self.kept)

    def forward(self, z: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """eps of z, or z of eps if `inverse`, [..., z_dim]; and log |det d output / d input|, [...]."""
        t, s = self.shift_and_log_scale(z)  # functions of the kept half, which is the same in z and eps
        if inverse:
            return z * torch.exp(s) + t, s.sum(-1)
        return (z - t) * torch.exp(-s), -s.sum(-1)


class FlowDistribution(Distribution):
    """The distribution of z whose image under the couplings is N(0, I): batch_shape (), event_shape (z_dim,).

    It keeps the parameters that the couplings have when it is made. A `functional_call` may have set them.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(self, couplings: Sequence[nn.Module], loc: Tensor) -> None:
        self.couplings = [(c, {**dict(c.named_parameters()), **dict(c.named_buffers())}) for c in couplings]
        self.base = standard_normal(loc, torch.ones_like(loc))
        super().__init__(event_shape=loc.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """z [..., z_dim] -> [...], nats."""
        # log p(z) = log N(eps; 0, I) + sum of the couplings' log |det|
        log_det = torch.zeros_like(value[..., 0])
        for coupling, state in self.couplings:
            value, more = functional_call(coupling, state, (value,))
            log_det = log_det + more
        return self.base.log_prob(value) + log_det

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        z = torch.randn_like(self.base.mean.expand(*sample_shape, *self.event_shape))
        for coupling, state in reversed(self.couplings):
            z, _ = functional_call(coupling, state, (z,), {"inverse": True})
        return z


class FlowPrior(ConditionalDistribution):
    """p(z) = N(f(z); 0, I) |det df/dz|, where f is a chain of affine couplings that change even or odd latents.

    Dinh et al. 2017, "Density estimation using Real NVP" (1605.08803), eq. 3 and 6 to 8, without its batch
    normalisation and scales; Chen et al. 2017 (1611.02731) were among the first to use a flow as a VAE's prior.

    Args:
        z_dim: number of latents, at least 2.
        n_couplings: at least 2, because each changes only half of the latents.
        layers: widths of the hidden layers of each coupling's network.

    Raises:
        UserError: a number is out of range.
    """

    loc: Tensor  # mean of the N(0, I) at the end of the flow

    def __init__(self, z_dim: int, n_couplings: int, layers: Sequence[int]) -> None:
        super().__init__()
        at_least(2, z_dim=z_dim, n_couplings=n_couplings)
        self.z_dim = z_dim
        self.register_buffer("loc", torch.zeros(z_dim))
        self.couplings = nn.ModuleList(Coupling(z_dim, layers, odd=bool(i % 2)) for i in range(n_couplings))

    def forward(
        self, y: Tensor | None = None, *, encoder: Callable[..., Distribution] | None = None
    ) -> FlowDistribution:
        return FlowDistribution(list(self.couplings), self.loc)


class ClassNormal(ConditionalDistribution):
    """p(z|y) = N(mu_y, diag(sigma_y^2)), a Gaussian for each class: y [B] -> batch_shape (B,).

    All start near N(0, I): sigma = softplus(rho + log(e - 1)), which is 1 at rho = 0.

    Args:
        z_dim: number of latents.
        n_classes: number of values of y.

    Raises:
        UserError: z_dim < 1, or fewer than 2 classes.
    """

    def __init__(self, z_dim: int, n_classes: int = 10) -> None:
        super().__init__()
        at_least(2, n_classes=n_classes)
        self.z_dim, self.n_classes = z_dim, n_classes
        # a linear layer on the one-hot class
        self.head = DiagonalNormalHead(n_classes, z_dim, scale_shift=math.log(math.e - 1))

    def forward(self, y: Tensor, *, encoder: Callable[..., Distribution] | None = None) -> Independent:
        return self.head(one_hot(y, self.n_classes))
