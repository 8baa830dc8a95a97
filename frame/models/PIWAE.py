"""Partially importance-weighted autoencoder.

Rainforth et al. 2018, "Tighter variational bounds are not necessarily better" (1802.04537), sec. 5: the decoder gets
the tightest bound, the encoder one whose gradient has less noise.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call

from frame.common.errors import at_least
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.distributions import rsample
from frame.probability.importance import iwae_bound


class PIWAE(LatentVariableModel):
    """Decoder and prior minimise -log 1/(M K) sum_mk w_mk, the encoder -1/M sum_m log 1/K sum_k w_mk, on the same z.

    w_mk = p(x, z_mk) / q(z_mk|x) with z_mk ~ q(z|x). Nats per sample: sums over pixels and latents, a mean over the
    batch. 'loss' has the value of the first. Its gradient is an IWAE's with M * K samples for decoder and prior, and a
    MIWAE's for the encoder. 'bound' is the second.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        n_bounds: M.
        n_samples: K: the decoder reads M * K samples of z for each x, twice.

    Raises:
        UserError: n_bounds or n_samples is below 1, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        n_bounds: int,
        n_samples: int,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        at_least(1, n_bounds=n_bounds, n_samples=n_samples)
        self.n_bounds = n_bounds
        self.n_samples = n_samples

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        q_z_given_x = self.encoder(x)
        q_z_given_x = q_z_given_x.expand((self.n_bounds * self.n_samples, len(x)))
        z = rsample(q_z_given_x)  # [M * K, B, z_dim]
        log_q = q_z_given_x.log_prob(z)
        # the same log w twice, each time with one side's parameters fixed
        theirs = self.log_p(x, z.detach(), self.decoder, self.prior(encoder=_fixed(self.encoder))) - log_q.detach()
        its = self.log_p(x, z, _fixed(self.decoder), _fixed(self.prior)(encoder=self.encoder)) - log_q
        loss = -iwae_bound(theirs).mean()
        bound = iwae_bound(its.unflatten(0, (self.n_samples, self.n_bounds))).mean()  # [K, M, B]
        # the value of the first, the gradients of both
        return {"loss": loss - (bound - bound.detach()), "bound": bound}

    def log_p(self, x: Tensor, z: Tensor, decoder: Callable[..., Distribution], p_z: Distribution) -> Tensor:
        """log p(x|z) + log p(z), [M * K, B]."""
        log_p_x = decoder(z.flatten(0, 1)).log_prob(x.expand(len(z), *x.shape).flatten(0, 1))
        return log_p_x.view(len(z), len(x)) + p_z.log_prob(z)


def _fixed(network: nn.Module) -> Callable[..., Any]:
    """The network without gradients for its parameters; its inputs still get theirs."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return lambda *given, **named: functional_call(network, parameters, given, named)
