"""I(x; z) and I(z; y) through a model and its data: known encoders of digits."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from frame.common.errors import NoNumber, TooFew
from frame.data.digits import Digits
from frame.evaluation.base import LogEntry, evaluating
from frame.evaluation.code_information import CodeInformationEvaluation, LabelInformationEvaluation
from frame.models.base import Model
from frame.probability.distributions import Delta


class Noisy(Model):
    """z ~ N(a times some pixels, 1)."""

    def __init__(self, a: float = 1.0) -> None:
        super().__init__()
        self.a = a

    def encode(self, x: Tensor) -> Distribution:
        loc = self.a * x.flatten(1)[:, 18:24]
        return Independent(Normal(loc, torch.ones_like(loc), validate_args=False), 1)

    def rate(self, x: Tensor) -> Tensor:
        q = self.encode(x)
        return torch.distributions.kl_divergence(q, Independent(Normal(torch.zeros(6), torch.ones(6)), 1))


class Exact(Noisy):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(self.a * x.flatten(1)[:, 18:24])


def found(evaluation: CodeInformationEvaluation | LabelInformationEvaluation, model: Model) -> LogEntry:
    with evaluating(model):
        return evaluation.evaluate(model, Digits())


def test_information_of_codes_lies_between_its_bounds() -> None:
    scalars = found(CodeInformationEvaluation(batch_size=64), Noisy(3.0)).scalars
    value = {key: scalar.value for key, scalar in scalars.items()}
    assert value["infonce"] < value["mixture"] < value["leave_one_out"] < value["rate"]
    assert scalars["mixture"].n_samples == 300 and scalars["infonce"].n_samples == 256
    bounds = {key: scalar.bound for key, scalar in scalars.items()}
    assert bounds == {"mixture": "lower", "infonce": "lower", "leave_one_out": "upper", "rate": "upper"}
    assert not any(scalar.saturated for scalar in scalars.values())


def test_a_number_near_its_limit_is_saturated() -> None:
    scalars = found(CodeInformationEvaluation(batch_size=64), Noisy(100.0)).scalars
    assert scalars["infonce"].value <= math.log(64) and scalars["mixture"].value <= math.log(300)
    assert scalars["infonce"].saturated and "at most log 64" in scalars["infonce"].estimator
    assert scalars["mixture"].saturated and "at most log 300" in scalars["mixture"].estimator


def test_an_uninformative_encoder() -> None:
    scalars = found(CodeInformationEvaluation(), Noisy(0.0)).scalars
    assert all(scalar.value == pytest.approx(0, abs=1e-6) for scalar in scalars.values())


def test_codes_of_another_distribution_use_its_probabilities() -> None:
    """One bit that says whether the picture's middle is bright: I(x; z) = H(z) - H(z|x)."""

    class Bits(Noisy):
        def encode(self, x: Tensor) -> Distribution:
            return Independent(Bernoulli(probs=0.1 + 0.8 * (x.flatten(1)[:, 27:28] > 0.5).float()), 1)

        def rate(self, x: Tensor) -> Tensor:
            return torch.ones(len(x))

    scalars = found(CodeInformationEvaluation(batch_size=300), Bits()).scalars
    x = Digits().split("test").batch(torch.arange(300))["x"].float() / 255
    p = 0.1 + 0.8 * (x.flatten(1)[:, 27] > 0.5).double()
    truth = sum(torch.special.entr(q.mean()) - torch.special.entr(q).mean() for q in (p, 1 - p)).item()
    assert scalars["mixture"].value == pytest.approx(truth, abs=0.1)
    assert scalars["mixture"].value == pytest.approx(scalars["infonce"].value)


def test_without_noise_or_rows_there_is_no_number() -> None:
    with pytest.raises(NoNumber, match="Exact encodes without noise"):
        found(CodeInformationEvaluation(), Exact())
    with pytest.raises(NoNumber, match="diverged"):
        found(CodeInformationEvaluation(), Noisy(math.nan))
    with pytest.raises(NoNumber, match="equal"):
        found(LabelInformationEvaluation(), Exact(0.0))
    with pytest.raises(TooFew, match="3 neighbours"):
        found(LabelInformationEvaluation(n_samples=30), Noisy(3.0))


def test_information_of_codes_about_labels() -> None:
    low, high = (
        found(LabelInformationEvaluation(n_train_samples=300, width=8), model).scalars
        for model in (Noisy(3.0), Exact(3.0))
    )
    assert {key: scalar.bound for key, scalar in low.items()} == {
        "classifier": "lower",
        "knn": "neither",
        "entropy": "",
    }
    for key in ("classifier", "knn"):
        assert 0 < low[key].value < high[key].value < low["entropy"].value < math.log(10)
