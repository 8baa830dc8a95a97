"""Estimators of mutual information, each with its critic.

Scores of pairs that do not belong together come from the batch itself: `pairs: all` scores each x with each other y
(B^2 rows through a joint critic), `pairs: rolled` each y with the x of the row before (B rows).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.probability import mutual_information as information

PAIRS = ("all", "rolled")


class InformationEstimator(nn.Module):
    """An estimate of the mutual information of paired rows, with the critic that it needs."""

    # 'lower', 'upper' or 'neither', in expectation: 'lower' holds for any critic, 'upper' for the true q(y|x)
    bound: str

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """x [B, D1], y [B, D2] -> 'information' in nats, and 'loss', whose descent fits the estimator."""
        raise NotImplementedError

    def limit(self, n: int) -> float:
        """What no estimate from n rows exceeds, in nats."""
        return math.inf


def check_maximised(estimator: InformationEstimator) -> None:
    """Raises UserError where an estimator is to be maximised that bounds the information from above."""
    if estimator.bound == "upper":
        raise UserError(
            f"estimator: {type(estimator).__name__} is an upper bound, and maximising it says nothing of the "
            "information: take a lower bound, such as frame.probability.estimators.JSD"
        )


def score_matrix(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """[B, B]: row i has f(x_i, y_j) for all j; by the critic's own `matrix` where it has one."""
    matrix: Callable[[Tensor, Tensor], Tensor] | None = getattr(critic, "matrix", None)
    if matrix is not None:
        return matrix(x, y)
    n = len(x)
    of_x = x.unsqueeze(1).expand(n, n, *x.shape[1:]).flatten(0, 1)
    of_y = y.unsqueeze(0).expand(n, n, *y.shape[1:]).flatten(0, 1)
    scores: Tensor = critic(of_x, of_y)
    return scores.view(n, n)


class FromScores(InformationEstimator):
    """What the estimators from scores of pairs that belong together and of pairs that do not have in common.

    Args:
        critic: f(x, y), [B, ...] and [B, ...] -> [B].
        pairs: 'all' or 'rolled', see above.

    Raises:
        UserError: an unknown `pairs`; from `forward`, a batch of one row.
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
        # one call for both: the critic's weights are read once
        scores = self.critic(torch.cat([x, x.roll(1, 0)]), torch.cat([y, y]))
        return self.estimate(scores[:n], scores[n:])

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        """'information' and 'loss' from the scores, [B] and [M]."""
        raise NotImplementedError


class InfoNCE(InformationEstimator):
    """Which y of the batch belongs to x; see `mutual_information.infonce`. At most log B nats.

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
    """The f-GAN bound on KL; see `mutual_information.nwj`. Varies as e^I does.

    The critic is taken as f - 1, so that it is the log density ratio here as in the other estimators.
    """

    bound = "lower"

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        found = information.nwj(1 + joint, 1 + marginal)
        return {"information": found, "loss": -found}


class JSD(FromScores):
    """The critic is fitted by `mutual_information.jsd`, which is steady; the information is NWJ's of 1 + f.

    Source: Hjelm et al. 2019 (1808.06670), eq. 4; its critic in NWJ's bound: Poole et al. 2019 (1905.06922).
    """

    bound = "lower"

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        return {
            "information": information.nwj(1 + joint, 1 + marginal),
            "loss": -information.jsd(joint, marginal),
        }


class MINE(FromScores):
    """Donsker and Varadhan's bound; the mean of e^f over few samples, inside a logarithm, makes it neither bound.

    In the gradient a moving average takes that mean's place, which takes the bias out: Belghazi et al. 2018
    (1801.04062), section 3.2. The average starts at 1, a critic's mean before it has learned anything.

    Args:
        critic, pairs: as in `FromScores`.
        decay: of the moving average; 0 is the plain gradient.

    Raises:
        UserError: decay is not in [0, 1), or what `FromScores` says.
    """

    bound = "neither"
    log_average: Tensor

    def __init__(self, critic: nn.Module, pairs: str = "all", decay: float = 0.99) -> None:
        super().__init__(critic, pairs)
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay}: it lies in [0, 1), such as 0.99")
        self.log_decay = math.log(decay) if decay > 0 else -math.inf
        self.log_rest = math.log1p(-decay)
        self.register_buffer("log_average", torch.tensor(0.0))

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        log_mean = information.log_mean_exp(marginal)
        average = torch.logaddexp(self.log_average + self.log_decay, log_mean.detach() + self.log_rest)
        if self.training:
            self.log_average.copy_(average)
        # its gradient is E[grad f] - E[e^f grad f] / average
        surrogate = joint.mean() - (log_mean - average).exp()
        return {"information": information.donsker_varadhan(joint, marginal), "loss": -surrogate}


class SMILE(FromScores):
    """The critic is fitted as in `JSD`; the information is Donsker and Varadhan's with e^f clipped, no bound.

    Source: Song & Ermon 2020 (1910.06222), section 5; their code, too, fits the critic by the Jensen-Shannon bound.

    Args:
        critic, pairs: as in `FromScores`.
        tau: e^f is clipped to [e^-tau, e^tau].

    Raises:
        UserError: tau is not positive, or what `FromScores` says.
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
    """log q(y|x) in a critic's place.

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
    """An upper bound for the true p(y|x); with a fitted q(y|x) only while q is close to it.

    `loss` is -E[log q(y|x)], which fits q; a model that wants little information adds `information` to its own.
    Source: Cheng et al. 2020 (2006.12013), section 3.2 (vCLUB), here without the pairs i = j, which scale it by
    1 - 1/N; `pairs: rolled` is close to their vCLUB-S, which draws one pair for each row.

    Args:
        critic: log q(y|x), such as `GaussianConditional`.
        pairs: as in `FromScores`.

    Raises:
        UserError: what `FromScores` says.
    """

    bound = "upper"

    def estimate(self, joint: Tensor, marginal: Tensor) -> dict[str, Tensor]:
        return {"information": information.club(joint, marginal), "loss": -joint.mean()}
