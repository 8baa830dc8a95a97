"""How dependent the dimensions of a code are on one another."""

import math

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError


def gaussian_total_correlation(codes: Tensor) -> tuple[float, float]:
    """Total correlation KL(q(z) || prod_d q(z_d)) in nats of a Gaussian with the covariance of `codes`, and its error.

    TC = 1/2 (sum_d log Sigma_dd - log det Sigma) with the full Sigma, in float64, as in Locatello et al. 2019
    (1811.12359), section 5.2. It measures linear dependence only, and does not change if a dimension is scaled or
    shifted. Independent codes give about D (D - 1) / 4N instead of 0. The error is the standard deviation of the rows'
    contributions over sqrt(N).

    Args:
        codes: [N, D], N > D.

    Raises:
        NoNumber: a code is not finite, or a dimension or a combination of them is constant.
        TooFew: there are no more rows than dimensions.
    """
    if codes.dim() != 2 or codes.shape[1] < 1:
        raise UserError(f"codes have shape {list(codes.shape)}: give rows of codes, [N, D]")
    n, n_dims = codes.shape
    if n <= n_dims:
        raise TooFew(f"{n} codes of {n_dims} dimensions have no full covariance: give more rows than dimensions")
    z = codes.detach().double()
    if not z.isfinite().all():
        raise NoNumber("codes have values that are NaN or infinite: the model has diverged")
    spread = z.std(0)
    # a constant plus rounding errors counts as constant
    constant = spread <= 1e-12 * z.abs().amax(0)
    if constant.any():
        dims = ", ".join(map(str, constant.nonzero().flatten().tolist()))
        raise NoNumber(f"dimension {dims} of the codes is constant: leave it out")
    # TC does not depend on scale: with all variances 1 it is -1/2 log det of the correlations
    z = (z - z.mean(0)) / spread
    cholesky, failed = torch.linalg.cholesky_ex(z.T @ z / (n - 1))
    if failed or cholesky.diagonal().min() < 1e-7:
        raise NoNumber("a dimension of the codes is a combination of the others: their total correlation is infinite")
    tc = -cholesky.diagonal().log().sum()
    # contribution of a row: 1/2 (sum_d z_d^2 - z^T R^-1 z)
    whitened = torch.linalg.solve_triangular(cholesky, z.T, upper=False)  # [D, N]
    parts = (z.square().sum(1) - whitened.square().sum(0)) / 2
    return tc.item(), parts.std().item() / math.sqrt(n)
