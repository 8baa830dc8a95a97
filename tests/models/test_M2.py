"""M2's bounds against closed forms and slow loops, its weights against the paper's sum, and what it can do."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal

from frame.architectures.base import DiagonalNormal, Encoder, MLPBackbone
from frame.architectures.conditional import Decoder
from frame.architectures.conditional import Encoder as ClassEncoder
from frame.architectures.heads import CategoricalHead
from frame.architectures.priors import ClassNormal
from frame.common.errors import UserError
from frame.data.digits import Digits
from frame.data.few_labels import FewLabels
from frame.data.take import Take
from frame.evaluation.base import evaluating
from frame.evaluation.calibration import CalibrationEvaluation
from frame.evaluation.elbo import ELBOEvaluation
from frame.evaluation.reconstruction import ImageReconstructionQualitativeEvaluation
from frame.evaluation.samples import ImageSampleEvaluation
from frame.models.base import ConditionalDistribution
from frame.models.M2 import M2
from frame.probability.distributions import diagonal_normal

CENTRES = torch.tensor([-1.0, 0.5, 3.0])


class Posterior(ConditionalDistribution):
    """The true q(z|x, y) of p(z) = N(0, 1), p(x|z, y) = N(z + c_y, 1): N((x - c_y) / 2, 1 / 2); or a narrow one."""

    def __init__(self, scale: float = math.sqrt(0.5)) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor, y: Tensor) -> Independent:
        loc = (x - CENTRES[y].unsqueeze(1)) / 2
        return diagonal_normal(loc, torch.full_like(loc, self.scale))


class Likelihood(ConditionalDistribution):
    def forward(self, z: Tensor, y: Tensor) -> Independent:
        return diagonal_normal(z + CENTRES[y].unsqueeze(1), torch.ones_like(z))


def joint(x: Tensor) -> Tensor:
    """log p(x, y) of the three classes, [B, 3]: x|y ~ N(c_y, 2), p(y) = 1/3."""
    return Normal(CENTRES, math.sqrt(2.0)).log_prob(x) - math.log(3)


class Table(ConditionalDistribution):
    """q(y|x): the true p(y|x), or fixed probabilities."""

    def __init__(self, p: list[float] | None = None) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Categorical:
        logits = joint(x) if self.p is None else torch.tensor(self.p).log().expand(len(x), 3)
        return Categorical(logits=logits)


def enumerated(classifier: Table, scale: float = math.sqrt(0.5), **more: Any) -> M2:
    given = {"alpha": 0.1, "n_labelled": 4, "n_unlabelled": 6, "n_classes": 3, **more}
    return M2(classifier, Posterior(scale), Likelihood(), DiagonalNormal(1), **given)


def mean_bound(model: M2, x: float, n: int = 20_000) -> float:
    """Minus U(x), a mean over samples of z."""
    torch.manual_seed(0)
    return model.log_likelihood_bound(torch.full((n, 1), x))["elbo"].mean().item()


@pytest.mark.parametrize("x", [-2.0, 0.4, 2.5])
def test_the_bound_is_the_likelihood_at_the_true_posteriors(x: float) -> None:
    log_p = joint(torch.tensor([[x]])).logsumexp(1).item()
    assert mean_bound(enumerated(Table()), x) == pytest.approx(log_p, abs=0.02)


def test_a_wrong_classifier_loses_its_divergence_from_the_true_one() -> None:
    """-U(x) = log p(x) - KL(q(y|x) || p(y|x)) if q(z|x, y) is true."""
    x, q = 0.4, torch.tensor([0.7, 0.2, 0.1])
    log_joint = joint(torch.tensor([[x]]))[0]
    log_p = log_joint.logsumexp(0)
    gap = (q * (q.log() - (log_joint - log_p))).sum().item()
    assert mean_bound(enumerated(Table(q.tolist())), x) == pytest.approx(log_p.item() - gap, abs=0.02)


def slow_terms(classifier: Table, x: Tensor, y: Tensor, u: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 6, 7 and the third term of eq. 9 for each row, with z at the mean of a narrow q(z|x, y)."""

    def bound(x: Tensor, y: int) -> Tensor:
        mean = (x - CENTRES[y]) / 2
        kl = 0.5 * (mean**2 + scale**2 - 1) - math.log(scale)
        return -Normal(mean + CENTRES[y], 1.0).log_prob(x) + kl + math.log(3)

    labelled = torch.stack([bound(a[0], int(k)) for a, k in zip(x, y, strict=True)])
    each = []
    for a in u:
        q = classifier(a.unsqueeze(0)).probs[0]
        each.append(sum(q[k] * (bound(a[0], k) + q[k].log()) for k in range(3)))
    cross_entropy = torch.stack([-classifier(a.unsqueeze(0)).probs[0, k].log() for a, k in zip(x, y, strict=True)])
    return labelled, torch.stack(each), cross_entropy


def test_the_loss_is_the_paper_s_sum_over_the_data_divided_by_its_rows() -> None:
    torch.manual_seed(0)
    x, y, u, scale = torch.randn(4, 1), torch.tensor([2, 0, 1, 1]), torch.randn(6, 1), 1e-4
    classifier, model = Table(), enumerated(Table(), scale, alpha=0.3)
    labelled, unlabelled, cross_entropy = slow_terms(classifier, x, y, u, scale)
    alpha = 0.3 * 10  # the paper's, for N = 10 rows
    expected = (labelled.sum() + unlabelled.sum() + alpha * cross_entropy.mean()) / 10
    found = model({"x": x, "y": y, "unlabelled": {"x": u}})
    torch.testing.assert_close(found["loss"], expected, rtol=1e-3, atol=1e-3)
    for name, rows in (("labelled", labelled), ("unlabelled", unlabelled), ("cross_entropy", cross_entropy)):
        torch.testing.assert_close(found[name], rows.mean(), rtol=1e-3, atol=1e-3)


def test_beta_weighs_the_rates_of_both_bounds() -> None:
    """Rates as in `slow_terms`: KL(q(z|x, y) || p(z)) + log K, and the mean of it + log q(y|x) over q(y|x)."""
    torch.manual_seed(0)
    x, y, u, scale, w = torch.randn(4, 1), torch.tensor([2, 0, 1, 1]), torch.randn(6, 1), 1e-4, 0.4
    one, three = (
        enumerated(Table(), scale, alpha=0.0, beta=beta)({"x": x, "y": y, "unlabelled": {"x": u}})
        for beta in (1.0, 3.0)
    )
    kl = 0.5 * ((x - CENTRES) ** 2 / 4 + scale**2 - 1) - math.log(scale) + math.log(3)  # [4, 3]
    kl_u = 0.5 * ((u - CENTRES) ** 2 / 4 + scale**2 - 1) - math.log(scale) + math.log(3)
    q = Table()(u).probs
    rates = w * kl[torch.arange(4), y].mean() + (1 - w) * (q * (kl_u + q.log())).sum(1).mean()
    torch.testing.assert_close(three["loss"] - one["loss"], 2 * rates, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(three["unlabelled"], one["unlabelled"], rtol=1e-3, atol=1e-3)


def test_each_row_has_its_own_bound() -> None:
    torch.manual_seed(0)
    u, scale = torch.randn(5, 1), 1e-4
    found = enumerated(Table(), scale).log_likelihood_bound(u)
    _, each, _ = slow_terms(Table(), u, torch.zeros(5).long(), u, scale)
    torch.testing.assert_close(found["elbo"], -each, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["elbo"], -found["distortion"] - found["rate"])


def test_classes_have_the_same_noise() -> None:
    """q(y|x) learns from differences of classes: there is none between a class and itself."""
    torch.manual_seed(0)
    model, x, y = enumerated(Table()), torch.full((200, 1), 0.4), torch.zeros(200).long()
    distortion, rate = model.distortion_and_rate(x, y)
    once = distortion + rate
    distortion, rate = model.distortion_and_rate(x.repeat(2, 1), y.repeat(2), 2)
    twice = (distortion + rate).view(2, 200)
    assert torch.equal(twice[0], twice[1]) and not torch.equal(once, twice[0])
    assert twice[0].std() > 0.1
    torch.testing.assert_close(twice[0].mean(), once.mean(), rtol=0, atol=0.2)


def test_feedback_is_the_share_of_the_unlabelled_gradient_that_reaches_the_classifier() -> None:
    def gradients(feedback: float) -> tuple[Tensor, Tensor]:
        model = small(alpha=0.0, feedback=feedback)
        torch.manual_seed(1)
        rows = torch.rand(6, 1, 8, 8)
        model({"x": rows[:2], "y": torch.tensor([3, 4]), "unlabelled": {"x": rows[2:]}})["loss"].backward()
        parts = (
            [p.grad for p in part.parameters() if p.grad is not None] for part in (model.classifier, model.decoder)
        )
        classifier, decoder = (torch.cat([g.flatten() for g in part]) for part in parts)
        return classifier, decoder

    full, half, none = (gradients(share) for share in (1.0, 0.5, 0.0))
    assert full[0].norm() > 0
    torch.testing.assert_close(half[0], full[0] / 2)
    assert not none[0].any()
    for found in (half, none):
        torch.testing.assert_close(found[1], full[1])


def small(prior: ConditionalDistribution | None = None, **more: Any) -> M2:
    torch.manual_seed(0)
    classifier = Encoder(MLPBackbone((1, 8, 8), [8]), CategoricalHead(8, 10))
    encoder, decoder = ClassEncoder((1, 8, 8), 10, 3, [8]), Decoder((1, 8, 8), 10, 3, [8])
    given: dict[str, Any] = {"alpha": 0.1, "n_labelled": 10, "n_unlabelled": 90, **more}
    return M2(classifier, encoder, decoder, prior or DiagonalNormal(3), **given)


def test_capabilities() -> None:
    model, x = small(), torch.rand(4, 1, 8, 8)
    assert model.predict(x).exp().sum(1).tolist() == pytest.approx([1] * 4)
    y = model.predict(x).argmax(1)
    torch.testing.assert_close(model.encode(x).mean, model.encoder(x, y).mean)
    torch.testing.assert_close(model.reconstruct(x), model.decoder(model.encode(x).mean, y).mean)
    assert model.reconstruct(x, sample_latents=True, sample_images=True).unique().tolist() in ([0, 1], [0], [1])
    assert model.features(x).shape == (4, 8)
    for prior in (DiagonalNormal(3), ClassNormal(3, 10)):
        assert small(prior).sample(20).shape == (20, 1, 8, 8)


def test_first_weights_of_the_paper_explain_x_equally_well_by_every_class() -> None:
    model, x = small(init_std=0.001), torch.rand(1, 1, 8, 8).expand(10, 1, 8, 8)
    torch.testing.assert_close(model.predict(x).exp(), torch.full((10, 10), 0.1), rtol=0, atol=1e-4)
    each = model.distortion_and_rate(x, torch.arange(10))[0]
    torch.testing.assert_close(each, each[:1].expand(10), rtol=1e-3, atol=0)
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert torch.cat([w.flatten() for w in weights]).std().item() == pytest.approx(0.001, rel=0.05)
    drawn = [w.clone() for w in weights]
    torch.manual_seed(3)
    model.reset_parameters()
    assert all(not torch.equal(w, before) for w, before in zip(weights, drawn, strict=True))


def test_samples_are_in_the_order_of_classes() -> None:
    class Echo(ConditionalDistribution):
        def forward(self, z: Tensor, y: Tensor) -> Independent:
            return diagonal_normal(y.unsqueeze(1).float(), torch.ones(len(y), 1))

    model = small()
    model.decoder = Echo()
    assert model.sample(20)[:, 0].tolist() == [float(k) for k in range(10) for _ in range(2)]


@pytest.mark.parametrize(
    "evaluation",
    [ELBOEvaluation(), CalibrationEvaluation(), ImageReconstructionQualitativeEvaluation(), ImageSampleEvaluation(20)],
    ids=lambda evaluation: type(evaluation).__name__,
)
def test_evaluations_serve_it_without_labels_for_the_model(evaluation: Any) -> None:
    model, data = small(), FewLabels(Take(Digits(), 60), 1)
    evaluation.check(model, data)
    with evaluating(model):
        entry = evaluation.evaluate(model, data)
    assert entry.scalars or entry.images or entry.figures


def test_errors_are_named() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"alpha": -1}, "alpha=-1"),
        ({"n_labelled": 0}, "n_labelled=0"),
        ({"n_unlabelled": 0}, "n_unlabelled=0"),
        ({"n_classes": 1}, "n_classes=1"),
        ({"init_std": -1}, "init_std=-1"),
        ({"beta": -1}, "beta=-1"),
        ({"feedback": 2}, "feedback=2: it must lie in"),
        ({"n_classes": 9}, "n_classes differs"),
    ]
    for more, why in wrong:
        with pytest.raises(UserError, match=why):
            small(**more)
    with pytest.raises(UserError, match="z_dim differs"):
        small(DiagonalNormal(2))
    model = small()
    model.classifier = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(UserError, match="Identity has no features"):
        model.features(torch.rand(1, 2))
