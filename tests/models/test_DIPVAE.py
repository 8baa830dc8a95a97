"""DIP-VAE: both regularisers on codes with a known covariance."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.models.base import ConditionalDistribution
from frame.models.DIPVAE import DIPVAE, squares
from frame.models.VAE import VAE
from frame.probability.distributions import diagonal_normal
from tests import digits


class Given(ConditionalDistribution):
    """q(z|x) whose means are the picture's first numbers, with fixed scales."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.z_dim = len(scale)
        self.scale = scale

    def forward(self, x: Tensor) -> Independent:
        mu = x.flatten(1)[:, : self.z_dim]
        return diagonal_normal(mu, self.scale.expand_as(mu))


def pictures(means: list[list[float]]) -> dict[str, Tensor]:
    x = torch.zeros(len(means), 1, 8, 8)
    x.flatten(1)[:, : len(means[0])] = torch.tensor(means)
    return {"x": x}


def model(codes: Any, scale: list[float], lambda_od: float = 0.0, lambda_d: float = 0.0) -> DIPVAE:
    torch.manual_seed(0)
    z_dim = len(scale)
    networks = (Given(torch.tensor(scale)), digits.Decoder(z_dim, [8]), DiagonalNormal(z_dim))
    return DIPVAE(*networks, lambda_od, lambda_d, codes)


# Two codes at (+-2, +-1) with a correlation: mean (5, 5), covariance [[4, c], [c, 1]], c = (2 + 2 - 2 + 2) / 4 = 1
MEANS = [[7.0, 6.0], [3.0, 4.0], [7.0, 4.0], [3.0, 4.0]]


def by_loop(means: list[list[float]], variances: list[float]) -> tuple[float, float]:
    """The two sums, written out from eq. 6 (no variances) and eq. 7."""
    n, d = len(means), len(means[0])
    off, on = 0.0, 0.0
    for i in range(d):
        for j in range(d):
            product = sum(row[i] * row[j] for row in means) / n
            covariance = product - sum(row[i] for row in means) / n * sum(row[j] for row in means) / n
            if i == j:
                on += (covariance + variances[i] - 1) ** 2
            else:
                off += covariance**2
    return off, on


def test_both_regularisers_against_a_slow_loop() -> None:
    for codes, variances in (("mean", [0.0, 0.0]), ("sampled", [0.25, 4.0])):
        losses = model(codes, [0.5, 2.0])(pictures(MEANS))
        off, on = by_loop(MEANS, variances)
        assert losses["off_diagonal"].item() == pytest.approx(off, rel=1e-5)
        assert losses["diagonal"].item() == pytest.approx(on, rel=1e-5)
        assert off > 0 and on > 0


def test_the_covariance_is_float32_under_autocast() -> None:
    batch = pictures([[7.03, 6.0], [3.0, 4.01], [7.0, 4.0], [3.0, 4.0]])
    exact = model("mean", [0.5, 2.0])(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model("mean", [0.5, 2.0])(batch)
    for name in ("off_diagonal", "diagonal"):
        assert losses[name].item() == exact[name].item()


def test_closed_form_where_the_covariance_is_diagonal() -> None:
    """Codes at (+-2, +-1), all four: S = diag(4, 1). I: 0 and (4 - 1)^2 + 0. II adds 1/4 to each: 3.25^2 + 0.25^2."""
    batch = pictures([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    for codes, diagonal in (("mean", 9.0), ("sampled", 3.25**2 + 0.25**2)):
        losses = model(codes, [0.5, 0.5])(batch)
        assert losses["off_diagonal"].item() == pytest.approx(0, abs=1e-6)
        assert losses["diagonal"].item() == pytest.approx(diagonal)


def test_covariance_of_sampled_codes_is_that_of_samples() -> None:
    """Eq. 7's S = Cov[mu] + E[sigma^2] is the covariance of z itself: 200,000 draws agree."""
    torch.manual_seed(0)
    mu = torch.tensor(MEANS).repeat(50000, 1)
    S = (mu + torch.tensor([0.5, 2.0]) * torch.randn_like(mu)).T.cov(correction=0)
    losses = model("sampled", [0.5, 2.0])(pictures(MEANS))
    off, on = 2 * S[0, 1] ** 2, (S[0, 0] - 1) ** 2 + (S[1, 1] - 1) ** 2
    assert losses["off_diagonal"].item() == pytest.approx(off.item(), rel=0.05)
    assert losses["diagonal"].item() == pytest.approx(on.item(), rel=0.05)


def test_independent_codes_have_a_penalty_in_a_small_batch() -> None:
    """Off the diagonal, S of B independent rows has squares of 1/B on average: D (D - 1) / B in all."""
    torch.manual_seed(0)
    found = torch.stack([squares(torch.randn(8, 64).cov(correction=0))[0] for _ in range(500)])
    assert found.mean().item() == pytest.approx(8 * 7 / 64, rel=0.05)


def test_loss_adds_both_with_their_weights_and_without_them_is_the_vae() -> None:
    batch = pictures(MEANS)
    for lambda_od, lambda_d in ((0.0, 0.0), (10.0, 0.0), (0.0, 3.0), (10.0, 100.0)):
        dip = model("mean", [0.5, 2.0], lambda_od, lambda_d)
        vae = VAE(dip.encoder, dip.decoder, dip.prior, beta=1.0)
        torch.manual_seed(1)
        losses = dip(batch)
        torch.manual_seed(1)
        expected = vae(batch)["loss"] + lambda_od * losses["off_diagonal"] + lambda_d * losses["diagonal"]
        torch.testing.assert_close(losses["loss"], expected)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="no codes 'means': did you mean 'mean'"):
        model("means", [1.0])
    with pytest.raises(UserError, match="lambda_od=-1"):
        model("mean", [1.0], lambda_od=-1)
    with pytest.raises(UserError, match="lambda_d=-1"):
        model("mean", [1.0], lambda_d=-1)
