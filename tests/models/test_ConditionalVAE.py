"""A VAE given the class: its limits, samples of each class, and evaluations that serve or refuse it."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from frame.architectures.base import DiagonalNormal
from frame.architectures.conditional import Decoder, Encoder
from frame.architectures.priors import ClassNormal, FlowPrior, MixturePrior, VampPrior
from frame.common.errors import UserError
from frame.data.base import DataSet, Source
from frame.data.digits import Digits
from frame.data.memory import InMemory
from frame.data.take import Take
from frame.evaluation.active_units import ActiveUnitsEvaluation
from frame.evaluation.base import Evaluation, evaluating
from frame.evaluation.elbo import ELBOEvaluation
from frame.evaluation.few_labels import FewLabelsEvaluation
from frame.evaluation.likelihood import IWAEBoundEvaluation
from frame.evaluation.neighbours import NeighbourEvaluation
from frame.evaluation.reconstruction import ImageReconstructionQualitativeEvaluation
from frame.evaluation.reconstruction_error import ReconstructionErrorEvaluation
from frame.evaluation.samples import ImageSampleEvaluation
from frame.evaluation.traversals import LatentTraversalEvaluation
from frame.models.base import ConditionalDistribution
from frame.models.ConditionalVAE import ConditionalVAE
from frame.models.VAE import VAE
from frame.probability.distributions import diagonal_normal
from tests import digits


def small(prior: ConditionalDistribution | None = None, beta: float = 1.0) -> ConditionalVAE:
    torch.manual_seed(0)
    encoder, decoder = Encoder((1, 8, 8), 10, 3, [8]), Decoder((1, 8, 8), 10, 3, [8])
    return ConditionalVAE(encoder, decoder, prior or ClassNormal(3, 10), beta)


class Ignoring(ConditionalDistribution):
    """A network that takes its first input only."""

    def __init__(self, network: ConditionalDistribution) -> None:
        super().__init__()
        self.network = network

    def forward(self, v: Tensor, y: Tensor) -> Distribution:
        return self.network(v)


def test_with_y_ignored_it_is_the_vae() -> None:
    torch.manual_seed(0)
    encoder, decoder, prior = digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3)
    conditional, plain = (
        ConditionalVAE(Ignoring(encoder), Ignoring(decoder), prior, 0.7),
        VAE(encoder, decoder, prior, 0.7),
    )
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6)
    found: list[list[Tensor]] = []
    for model, given in ((conditional, (x, y)), (plain, (x,))):
        torch.manual_seed(1)
        parts = [model({"x": x, "y": y})["loss"], model.log_likelihood_bound(*given)["elbo"]]
        parts += [model.log_weights(*given, n_samples=4), model.reconstruct(*given, sample_latents=True)]
        found.append([*parts, model.encode(*given).mean, model.sample(5)])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


class Table(ConditionalDistribution):
    """N(loc_y + weight * v, scale_y^2)."""

    def __init__(self, loc: list[float], scale: list[float], weight: float = 0.0) -> None:
        super().__init__()
        self.loc, self.scale, self.weight = torch.tensor(loc), torch.tensor(scale), weight

    def forward(self, v: Tensor, y: Tensor) -> Independent:
        shift = self.weight * v if self.weight else 0.0
        return diagonal_normal(self.loc[y].unsqueeze(1) + shift, self.scale[y].unsqueeze(1))


class ClassTable(ConditionalDistribution):
    """The prior N(loc_y, scale_y^2)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.loc, self.scale = loc, scale

    def forward(self, y: Tensor, *, encoder: ConditionalDistribution) -> Independent:
        return diagonal_normal(self.loc[y].unsqueeze(1), self.scale[y].unsqueeze(1))


def test_weights_are_the_likelihood_given_y_at_the_true_posterior() -> None:
    """p(z|y) = N(m_y, s_y^2), p(x|z, y) = N(z + c_y, 1): x|y ~ N(m_y + c_y, s_y^2 + 1)."""
    m, s, c = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0]), torch.tensor([0.3, 0.0])
    variance = 1 / (1 / s**2 + 1)
    # the posterior's mean is variance * (m / s^2 + x - c); the weight of x depends on the class, so one class at a time
    for k in range(2):
        mean, weight = (variance * (m / s**2 - c)).tolist(), float(variance[k])
        model = ConditionalVAE(
            Table(mean, variance.sqrt().tolist(), weight),
            Table(c.tolist(), [1.0, 1.0], 1.0),
            ClassTable(m, s),
            1.0,
        )
        x, y = torch.randn(4, 1), torch.full((4,), k)
        expected = Normal(m[k] + c[k], (s[k] ** 2 + 1).sqrt()).log_prob(x[:, 0])
        torch.testing.assert_close(model.log_weights(x, y, n_samples=3), expected.expand(3, 4))


def test_classes_of_log_weights_stay_with_their_pictures() -> None:
    """Rows by themselves have the weights that they have in a batch of several classes."""
    model, x, y = small(), torch.rand(3, 1, 8, 8), torch.tensor([7, 0, 3])
    z = torch.randn(5, 3, 3)
    together = model.log_p_x(z, x, y)
    for b in range(3):
        alone = model.log_p_x(z[:, b : b + 1], x[b : b + 1], y[b : b + 1])
        torch.testing.assert_close(together[:, b : b + 1], alone)
    torch.testing.assert_close(together[2], model.decode(z[2], y).log_prob(x))


def test_networks_see_the_class() -> None:
    model, x, z = small(), torch.rand(1, 1, 8, 8).expand(10, 1, 8, 8), torch.ones(10, 3)
    y = torch.arange(10)
    for numbers in (
        model.encode(x, y).mean,
        model.features(x, y),
        model.decode(z, y).mean.flatten(1),
        model.p_z(y).mean,
    ):
        assert len(numbers.detach().unique(dim=0)) == 10
    assert isinstance(model.prior, ClassNormal)
    with torch.no_grad():
        model.prior.head.linear.weight[:3].copy_(y.expand(3, 10))
        model.prior.head.linear.bias[:3].fill_(0.5)
    torch.testing.assert_close(model.p_z(torch.tensor([4, 9])).mean, torch.tensor([[4.5] * 3, [9.5] * 3]))


@pytest.mark.parametrize("prior", [ClassNormal(3, 10), DiagonalNormal(3), MixturePrior(3, 2), FlowPrior(3, 2, [4])])
def test_samples_are_in_the_order_of_classes(prior: ConditionalDistribution) -> None:
    model = small(prior)

    class Echo(ConditionalDistribution):
        def forward(self, z: Tensor, y: Tensor) -> Independent:
            assert z.shape == (len(y), 3)
            return diagonal_normal(y.unsqueeze(1).float(), torch.ones(len(y), 1))

    model.decoder = Echo()
    assert model.sample(20)[:, 0].tolist() == [float(k) for k in range(10) for _ in range(2)]
    assert model.sample(4)[:, 0].tolist() == [0, 2, 5, 7]
    assert model.sample_given(torch.tensor([3, 3, 8]))[:, 0].tolist() == [3, 3, 8]


class NoLabels(DataSet):
    shape = (1, 8, 8)

    def load(self, split: str) -> Source:
        return InMemory(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))


EVALUATIONS: list[Evaluation] = [
    ELBOEvaluation(),
    IWAEBoundEvaluation(n_posterior_samples=3),
    ActiveUnitsEvaluation(),
    ImageReconstructionQualitativeEvaluation(),
    ReconstructionErrorEvaluation(),
    LatentTraversalEvaluation(n_dims=2),
    ImageSampleEvaluation(20),
]


@pytest.mark.parametrize("evaluation", EVALUATIONS, ids=lambda e: type(e).__name__)
def test_evaluations_serve_it_with_labels_and_refuse_it_without(evaluation: Evaluation) -> None:
    model, data = small(), Take(Digits(), 12)
    evaluation.check(model, data)
    with evaluating(model):
        entry = evaluation.evaluate(model, data)
    assert entry.scalars or entry.images or entry.figures
    assert all(np.isfinite(scalar.value) for scalar in entry.scalars.values())
    if not isinstance(evaluation, ImageSampleEvaluation):
        with pytest.raises(UserError, match=r"needs 'y' in the data; NoLabels has only"):
            evaluation.check(model, NoLabels())


@pytest.mark.parametrize("evaluation", [NeighbourEvaluation(), FewLabelsEvaluation()], ids=["neighbours", "few labels"])
def test_a_label_that_the_model_is_given_is_not_predicted_from_its_code(evaluation: Evaluation) -> None:
    with pytest.raises(UserError, match=r"predicts 'y', which ConditionalVAE is given"):
        evaluation.check(small(), Digits())


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="n_classes=0"):
        ConditionalVAE(Encoder((4,), 10, 3, []), Decoder((4,), 10, 3, []), DiagonalNormal(3), 1, 0)
    with pytest.raises(UserError, match=r"n_classes differs \(encoder 10, decoder 9, prior 10, model 10\)"):
        ConditionalVAE(Encoder((4,), 10, 3, []), Decoder((4,), 9, 3, []), ClassNormal(3, 10), 1)
    with pytest.raises(UserError, match="beta=-1"):
        small(beta=-1)
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, decoder 3, prior 2\)"):
        small(ClassNormal(2, 10))
    with pytest.raises(UserError, match="a VampPrior has no class"):
        small(VampPrior(3, 2, (1, 8, 8)))({"x": torch.rand(2, 1, 8, 8), "y": torch.arange(2)})
    for network in (Encoder, Decoder):
        with pytest.raises(UserError, match="n_classes=0"):
            network((4,), 0, 3, [])
