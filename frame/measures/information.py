"""Mutual information in nats: estimates from a critic's scores, and the closed form of Gaussians.

A score f(x, y) is `joint` [N] where x and y belong together and `marginal` [M] where they are drawn apart; a matrix
`scores` [N, N] of all pairs has the former on its diagonal.
"""

import math

import torch.nn.functional as F
from torch import Tensor


def off_diagonal(matrix: Tensor) -> Tensor:
    """[N, N] -> [N * (N - 1)]: what does not lie on the diagonal."""
    n = len(matrix)
    return matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()


def log_mean_exp(values: Tensor) -> Tensor:
    """log((1 / N) sum_i exp(values_i)), shape ()."""
    return values.logsumexp(0) - math.log(len(values))


def infonce(scores: Tensor) -> Tensor:
    """(1 / N) sum_i log(e^f_ii / ((1 / N) sum_j e^f_ij)): a lower bound that never exceeds log N.

    Source: van den Oord et al. 2018 (1807.03748), eq. 4, with log N added as in Poole et al. 2019 (1905.06922).
    """
    return (scores.diagonal() - scores.logsumexp(1)).mean() + math.log(len(scores))


def nwj(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[f] - E[e^(f - 1)]: a lower bound, exact where f = 1 + log p(y|x) / p(y).

    Source: Nguyen et al. 2010 (0809.0853); the same is the f-GAN bound on KL (Nowozin et al. 2016, 1606.00709).
    """
    return joint.mean() - (log_mean_exp(marginal) - 1).exp()


def jsd(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[-softplus(-f)] - E[softplus(f)], which is no information: it is largest where f = log p(y|x) / p(y).

    There it equals twice the Jensen-Shannon divergence between joint and marginal, minus log 4; `nwj` of 1 + f is the
    information. Source: Hjelm et al. 2019 (1808.06670), eq. 4.
    """
    return -F.softplus(-joint).mean() - F.softplus(marginal).mean()


def donsker_varadhan(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[f] - log E[e^f]: a lower bound with the true expectation, not with a mean over few samples.

    Source: Donsker & Varadhan 1983, as in Belghazi et al. 2018 (1801.04062), section 3.1.
    """
    return joint.mean() - log_mean_exp(marginal)


def smile(joint: Tensor, marginal: Tensor, tau: float) -> Tensor:
    """E[f] - log E[clip(e^f, e^-tau, e^tau)]: less variance, and no bound; tau = inf is `donsker_varadhan`.

    Source: Song & Ermon 2020 (1910.06222), section 5.
    """
    return joint.mean() - log_mean_exp(marginal.clamp(-tau, tau))


def club(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[log p(y|x)] over the joint minus the same over the marginals: an upper bound for the true p(y|x).

    Source: Cheng et al. 2020 (2006.12013), section 3.1.
    """
    return joint.mean() - marginal.mean()


def mixture_information(kl: Tensor) -> Tensor:
    """-(1 / N) sum_i log((1 / N) sum_j e^-KL_ij), KL_ij = KL(q(z|x_i) || q(z|x_j)) [N, N]: I(x; z) is not larger.

    x is one of the N rows, each as likely as the others, so neither the bound nor the information exceeds log N.
    Source: Kolchinsky & Tracey 2017 (1706.02419), the upper bound by the KL; Kolchinsky et al. 2019 (1705.02436).
    """
    return math.log(len(kl)) - (-kl).logsumexp(1).mean()


def gaussian_information(rho: float, dim: int = 1) -> float:
    """I(x; y) = -(dim / 2) log(1 - rho^2) of two Gaussian vectors whose components are correlated pair by pair."""
    return -dim / 2 * math.log1p(-(rho**2))


def gaussian_correlation(information: float, dim: int = 1) -> float:
    """The rho >= 0 with which `gaussian_information` is `information`."""
    return math.sqrt(-math.expm1(-2 * information / dim))


def gaussian_log_ratio(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(x, y) / (p(x) p(y)) of those Gaussians with unit variances: x, y [..., dim] -> [...], the best critic."""
    quadratic = (rho**2 * (x.square() + y.square()) - 2 * rho * x * y) / (2 * (1 - rho**2))
    return (-quadratic - math.log1p(-(rho**2)) / 2).sum(-1)
