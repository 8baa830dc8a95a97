"""Estimators of mutual information, each with its critic.

Pairs from the product of the marginals are made within the batch: `pairs: all` combines each x with every other y
(B^2 rows for a joint critic), `pairs: rolled` each y with the x of the row before (B rows).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.common.ranks import log_mean_exp_over_ranks
from frame.probability import mutual_information as information

PAIRS = ("all", "rolled")


class InformationEstimator(nn.Module):
    """An estimate of the mutual information of paired rows, with its critic."""

    # 'lower', 'upper' or 'neither', in expectation: 'lower' holds for any critic, 'upper' for the true q(y|x)
    bound: str

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """x [B, D1], y [B, D2] -> 'information' in nats, and 'loss', which fits the estimator when minimised."""
        raise NotImplementedError

    def limit(self, n: int) -> float:
        """The largest possible estimate from n rows, in nats."""
        return math.inf


def check_maximised(estimator: InformationEstimator) -> None:
    """Raises UserError if the estimator is an upper bound, which must not be maximised."""
    if estimator.bound == "upper":
        raise UserError(
            f"estimator: {type(estimator).__name__} is an upper bound, and maximising it does not increase the "
            "information: take a lower bound, such as frame.probability.estimators.JSD"
        )


def score_matrix(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The scores f(x_i, y_j) [B, B], row i for x_i; by the critic's `matrix` if it has one."""
    matrix: Callable[[Tensor, Tensor], Tensor] | None = getattr(critic, "matrix", None)
    if matrix is not None:
        return matrix(x, y)
    n = len(x)
    of_x = x.unsqueeze(1).expand(n, n, *x.shape[1:]).flatten(0, 1)
    of_y = y.unsqueeze(0).expand(n, n, *y.shape[1:]).flatten(0, 1)
    scores: Tensor = critic(of_x, of_y)
    return scores.view(n, n)


class FromScores(InformationEstimator):
    """Estimators from the scores of joint pairs and of pairs from the product of the marginals.

    Args:
        critic: f(x, y), [B, ...] and [B, ...] -> [B].
        pairs: 'all' or 'rolled'; see the module.

    Raises:
        UserError: `pairs` is unknown; in `forward`, a batch has one row.
    """

    def __init__(self, critic: nn.Module, pairs: str = "all") -> None:
        super().__init__()
        if pairs not in PAIRS:
            raise UserError(choices(str(pairs), PAIRS, kind="pairs"))
        self.critic = critic
        self.pairs = pairs

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        n = len(x)
        if n < 2:
            raise UserError("an estimate of information needs batches of at least 2 rows: change params.batch_size")
        if self.pairs == "all":
            scores = score_matrix(self.critic, x, y)
            return self.estimate(scores.diagonal(), information.off_diagonal(scores))
        # one call for both reads the critic's weights once
        scores = self.critic(torch.cat([x, x.roll(1, 0)]), torch.cat([y, y]))
        return self.estimate(scores[:n], scores[n:])

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        """'information' and 'loss' from the scores, [B] and [M]."""
        raise NotImplementedError


class InfoNCE(InformationEstimator):
    """Classifies which y of the batch belongs to x; see `mutual_information.infonce`. It is at most log B nats.

    Args:
        critic: f(x, y), [B, ...] and [B, ...] -> [B]; it scores all pairs.
    """

    bound = "lower"

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        found = information.infonce(score_matrix(self.critic, x, y))
        return {"information": found, "loss": -found}

    def limit(self, n: int) -> float:
        return math.log(n)


class NWJ(FromScores):
    """The f-GAN bound on KL; see `mutual_information.nwj`. Its variance grows like e^I.

    The critic is f - 1, so that it estimates the log density ratio as in the other estimators.
    """

    bound = "lower"

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        found = information.nwj(1 + joint, 1 + marginal)
        return {"information": found, "loss": -found}


class JSD(FromScores):
    """The critic is fitted by `mutual_information.jsd`, which has little variance; the estimate is NWJ's with 1 + f.

    Source: Hjelm et al. 2019 (1808.06670), eq. 4; its critic in NWJ's bound: Poole et al. 2019 (1905.06922).
    """

    bound = "lower"

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        return {
            "information": information.nwj(1 + joint, 1 + marginal),
            "loss": -information.jsd(joint, marginal),
        }


class MINE(FromScores):
    """Donsker and Varadhan's bound; with a mean of few samples inside the logarithm it is not a bound.

    In the gradient a moving average replaces this mean, which removes the bias: Belghazi et al. 2018 (1801.04062),
    section 3.2. The average starts at 1, the mean of e^f for an untrained critic, and is one of all ranks.

    Args:
        critic, pairs: as in `FromScores`.
        decay: decay of the moving average; 0 gives the plain gradient.

    Raises:
        UserError: decay is not in [0, 1), or as in `FromScores`.
    """

    bound = "neither"
    log_average: Tensor

    def __init__(self, critic: nn.Module, pairs: str = "all", decay: float = 0.99) -> None:
        super().__init__(critic, pairs)
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay}: it must lie in [0, 1), such as 0.99")
        self.log_decay = math.log(decay) if decay > 0 else -math.inf
        self.log_rest = math.log1p(-decay)
        self.register_buffer("log_average", torch.tensor(0.0))

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        log_mean = information.log_mean_exp(marginal)
        now = log_mean_exp_over_ranks(log_mean) if self.training else log_mean.detach()
        average = torch.logaddexp(self.log_average + self.log_decay, now + self.log_rest)
        if self.training:
            self.log_average.copy_(average)
        # its gradient is E[grad f] - E[e^f grad f] / average
        surrogate = joint.mean() - (log_mean - average).exp()
        return {"information": information.donsker_varadhan(joint, marginal), "loss": -surrogate}


class SMILE(FromScores):
    """The critic is fitted as in `JSD`; the estimate is Donsker and Varadhan's with e^f clipped, which is not a bound.

    Source: Song & Ermon 2020 (1910.06222), section 5; as in their code, the Jensen-Shannon bound fits the critic.

    Args:
        critic, pairs: as in `FromScores`.
        tau: e^f is clipped to [e^-tau, e^tau].

    Raises:
        UserError: tau is not positive, or as in `FromScores`.
    """

    bound = "neither"

    def __init__(self, critic: nn.Module, pairs: str = "all", tau: float = 5.0) -> None:
        super().__init__(critic, pairs)
        if not tau > 0:
            raise UserError(f"tau={tau}: it must be positive, such as 5.0")
        self.tau = tau

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        return {
            "information": information.smile(joint, marginal, self.tau),
            "loss": -information.jsd(joint, marginal),
        }


class Conditional(nn.Module):
    """log q(y|x) as a critic.

    Args:
        q: q(y|x), a distribution of y [B, n_y].
    """

    def __init__(self, q: nn.Module) -> None:
        super().__init__()
        self.q = q

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.q(x).log_prob(y)

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, B]: row i has log q(y_j|x_i) for all j."""
        return self.q(x).log_prob(y.unsqueeze(1)).T


class CLUB(FromScores):
    """An upper bound for the true p(y|x), and for a fitted q(y|x) only if q is close to it.

    `loss` is -E[log q(y|x)], which fits q. A model that minimises the information adds `information` to its loss.
    Source: Cheng et al. 2020 (2006.12013), section 3.2 (vCLUB), here without the pairs i = j, which scale it by
    1 - 1/N; `pairs: rolled` is close to their vCLUB-S, which draws one pair for each row.

    Args:
        critic: log q(y|x), such as `GaussianConditional`.
        pairs: as in `FromScores`.

    Raises:
        UserError: as in `FromScores`.
    """

    bound = "upper"

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        return {"information": information.club(joint, marginal), "loss": -joint.mean()}
