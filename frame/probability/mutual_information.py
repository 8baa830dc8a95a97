"""Mutual information in nats: estimates from a critic's scores, and the closed form of Gaussians.

Scores f(x, y) of pairs from the joint distribution are `joint` [N], those from the product of the marginals `marginal`
[M]; a matrix `scores` [N, N] of all pairs has the joint ones on its diagonal.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from frame.common.errors import TooFew, UserError, at_least
from frame.measures.geometry import finite
from frame.measures.neighbours import check_classes

NUMBERS_AT_ONCE = 1 << 22  # distances of float64 at a time: 32 MiB


def off_diagonal(matrix: Tensor) -> Tensor:
    """[N, N] -> [N * (N - 1)]: the entries off the diagonal."""
    n = len(matrix)
    return matrix.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()


def log_mean_exp(values: Tensor) -> Tensor:
    """log((1 / N) sum_i exp(values_i)), shape ()."""
    return values.logsumexp(0) - math.log(len(values))


def infonce(scores: Tensor) -> Tensor:
    """(1 / N) sum_i log(e^f_ii / ((1 / N) sum_j e^f_ij)): a lower bound, at most log N.

    Source: van den Oord et al. 2018 (1807.03748), eq. 4, with log N added as in Poole et al. 2019 (1905.06922).
    """
    return (scores.diagonal() - scores.logsumexp(1)).mean() + math.log(len(scores))


def nwj(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[f] - E[e^(f - 1)]: a lower bound, exact if f = 1 + log p(y|x) / p(y).

    Source: Nguyen et al. 2010 (0809.0853); the same is the f-GAN bound on KL (Nowozin et al. 2016, 1606.00709).
    """
    return joint.mean() - (log_mean_exp(marginal) - 1).exp()


def jsd(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[-softplus(-f)] - E[softplus(f)], which is not an information; its maximum is at f = log p(y|x) / p(y).

    There it is twice the Jensen-Shannon divergence between joint and marginal, minus log 4; `nwj` of 1 + f is the
    information. Source: Hjelm et al. 2019 (1808.06670), eq. 4.
    """
    return -F.softplus(-joint).mean() - F.softplus(marginal).mean()


def donsker_varadhan(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[f] - log E[e^f]: a lower bound for the true expectation, not for a mean of few samples.

    Source: Donsker & Varadhan 1983, as in Belghazi et al. 2018 (1801.04062), section 3.1.
    """
    return joint.mean() - log_mean_exp(marginal)


def smile(joint: Tensor, marginal: Tensor, tau: float) -> Tensor:
    """E[f] - log E[clip(e^f, e^-tau, e^tau)]: less variance, but no bound; tau = inf is `donsker_varadhan`.

    Source: Song & Ermon 2020 (1910.06222), section 5.
    """
    return joint.mean() - log_mean_exp(marginal.clamp(-tau, tau))


def club(joint: Tensor, marginal: Tensor) -> Tensor:
    """E[log p(y|x)] over the joint minus the same over the marginals: an upper bound for the true p(y|x).

    Source: Cheng et al. 2020 (2006.12013), section 3.1.
    """
    return joint.mean() - marginal.mean()


def mixture_information(kl: Tensor) -> Tensor:
    """-(1 / N) sum_i log((1 / N) sum_j e^-KL_ij), KL_ij = KL(q(z|x_i) || q(z|x_j)) [N, N]: an upper bound on I(x; z).

    x is one of the N rows, all equally probable, so bound and information are at most log N.
    Source: Kolchinsky & Tracey 2017 (1706.02419), the upper bound by the KL; Kolchinsky et al. 2019 (1705.02436).
    """
    return math.log(len(kl)) - (-kl).logsumexp(1).mean()


def leave_one_out(scores: Tensor) -> Tensor:
    """(1 / N) sum_i log(e^f_ii / ((1 / (N - 1)) sum_{j != i} e^f_ij)): I(x; z) is not larger, f_ij = log q(z_i|x_j).

    Only for the true q(z|x). With i among the j it is `infonce`, a lower bound. Source: Poole et al. 2019
    (1905.06922), section 2.
    """
    n = len(scores)
    others = scores.masked_fill(torch.eye(n, dtype=torch.bool, device=scores.device), -math.inf)
    return (scores.diagonal() - others.logsumexp(1)).mean() + math.log(n - 1)


def gaussian_log_probs(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z_i; loc_j, diag(scale_j^2)) of all pairs, [M, N]: z [M, D], loc and scale [N, D], by float64 products."""
    z, loc, scale = z.double(), loc.double(), scale.double()
    precision = scale**-2
    # -1/2 sum_d ((z - m)^2 / s^2 + log(2 pi s^2))
    constant = (loc.square() * precision).sum(1) + (2 * math.pi * scale.square()).log().sum(1)
    return z @ (loc * precision).T - (z.square() @ precision.T + constant) / 2


def is_saturated(information: float, n: int) -> bool:
    """Whether an estimate of at most log n is within 10 % of log n: the information may then be far larger."""
    return information > 0.9 * math.log(n)


def label_entropy(y: Tensor) -> float:
    """H(y) in nats of the frequencies of classes [N].

    Raises:
        NoNumber: there is one class.
    """
    check_classes(y)
    p = y.unique(return_counts=True)[1].double() / len(y)
    return torch.special.entr(p).sum().item()


def classifier_information(log_p: Tensor, y: Tensor) -> Tensor:
    """log p(y_i|z_i) - log p(y_i) of each row, [N]: their mean H(y) - cross-entropy is at most I(z; y) in expectation.

    For any classifier that was not trained on these rows: log_p [N, n_classes] in nats, y [N]; p(y) are frequencies.
    Source: Barber & Agakov 2003, "The IM algorithm".

    Raises:
        NoNumber: there is one class.
    """
    check_classes(y)
    _, where, counts = y.unique(return_inverse=True, return_counts=True)
    log_p_y = (counts.double() / len(y)).log()[where]
    return log_p.double().gather(1, y.long().unsqueeze(1)).squeeze(1) - log_p_y


def knn_information(codes: Tensor, y: Tensor, k: int = 3, seed: int = 0) -> Tensor:
    """psi(N) + psi(k) - psi(N_y) - psi(m) per row, [N], whose mean estimates I(z; y) for a discrete y; it is no bound.

    N_y rows have the row's class, m rows lie no farther than its k-th neighbour of that class (Ross 2014, "Mutual
    information between discrete and continuous data sets"; Euclidean). Noise of 1e-10 times
    the size of a code separates equal rows, so that codes with few values have an estimate, too.

    Args:
        codes, y: [N, D] and [N].
        k: number of neighbours; fewer give less bias and more variance.
        seed: seed of the noise.

    Raises:
        UserError: k < 1, or the numbers of rows differ.
        NoNumber: a code is NaN, there is one class, or a class has no more than k rows.
    """
    at_least(1, k=k)
    z = finite(codes)
    if len(z) != len(y):
        raise UserError(f"{len(z)} codes and {len(y)} labels: give one to each")
    check_classes(y)
    classes, where, counts = y.cpu().unique(return_inverse=True, return_counts=True)
    if counts.min() <= k:
        raise TooFew(
            f"class {int(classes[counts.argmin()])} has {int(counts.min())} rows and no {k} neighbours: give more"
        )
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
    z = z + 1e-10 * z.abs().mean(0).clamp(min=1.0) * noise
    m = torch.empty(len(z), dtype=z.dtype)
    for rows in torch.arange(len(z)).split(max(1, NUMBERS_AT_ONCE // len(z))):
        # not by matrix products, which would round small distances
        distances = torch.cdist(z[rows], z, compute_mode="donot_use_mm_for_euclid_dist")  # [b, N]
        theirs = distances.masked_fill(where[rows].unsqueeze(1) != where, math.inf)
        farthest = theirs.kthvalue(k + 1, dim=1).values  # k + 1, because the nearest is the row itself
        m[rows] = (distances <= farthest.unsqueeze(1)).sum(1).to(z.dtype) - 1
    psi = torch.digamma
    n, k_rows = (torch.tensor(float(v), dtype=z.dtype) for v in (len(z), k))
    return psi(n) + psi(k_rows) - psi(counts[where].to(z.dtype)) - psi(m)


def gaussian_information(rho: float, dim: int = 1) -> float:
    """I(x; y) = -(dim / 2) log(1 - rho^2) of two Gaussian vectors whose components are correlated in pairs."""
    return -dim / 2 * math.log1p(-(rho**2))


def gaussian_correlation(information: float, dim: int = 1) -> float:
    """The rho >= 0 with which `gaussian_information` is `information`."""
    return math.sqrt(-math.expm1(-2 * information / dim))


def gaussian_log_ratio(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(x, y) / (p(x) p(y)) of those Gaussians with unit variances: x, y [..., dim] -> [...], the best critic."""
    quadratic = (rho**2 * (x.square() + y.square()) - 2 * rho * x * y) / (2 * (1 - rho**2))
    return (-quadratic - math.log1p(-(rho**2)) / 2).sum(-1)
