"""Reconstruction error and use of a codebook, on rows with known answers."""

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import DataSet, Source, whole_batch
from frame.data.digits import Digits
from frame.data.memory import InMemory
from frame.evaluation.base import LogEntry, evaluating
from frame.evaluation.codebook import CodebookEvaluation
from frame.evaluation.reconstruction_error import ReconstructionErrorEvaluation


class Always(nn.Module):
    """The same picture, whatever x is."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.picture = picture

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        return self.picture.expand_as(x)


class Fours(DataSet):
    """Rows of four values each; the codes are their integer parts."""

    def __init__(self, x: list[list[float]]) -> None:
        super().__init__()
        self.x = torch.tensor(x)

    def load(self, split: str) -> Source:
        return InMemory(self.x)


class Floor(nn.Module):
    n_codes = 8

    def quantise(self, x: Tensor) -> Tensor:
        return x.long().view(-1, 2, 2)


def error_of(picture: Tensor, n_samples: int | None = None, split: str = "train") -> LogEntry:
    evaluation, model, data = ReconstructionErrorEvaluation(split, n_samples), Always(picture), Digits()
    evaluation.check(model, data)
    with evaluating(model):
        return evaluation.evaluate(model, data)


def digits(split: str = "train") -> Tensor:
    source = Digits().split(split)
    x: Tensor = whole_batch(source, torch.arange(len(source)))["x"].double()
    return x


def test_grey_has_the_error_1() -> None:
    x = digits()
    scalars = error_of(x.mean().expand(1, 8, 8)).scalars
    assert scalars[""].value == pytest.approx(1, abs=1e-9)
    for key in ("mse", "variance"):
        assert scalars[key].value == pytest.approx(x.var(correction=0).item())
    assert scalars[""].n_samples == 1297


def test_the_mean_picture_leaves_1_unexplained() -> None:
    x = digits()
    scalars = error_of(x.mean(0)).scalars
    assert scalars["unexplained"].value == pytest.approx(1, abs=1e-9)
    assert scalars[""].value == pytest.approx(((x - x.mean(0)).square().mean() / x.var(correction=0)).item())
    assert scalars[""].value < 0.6


def test_the_standard_error_is_that_over_pictures() -> None:
    x = digits("valid")
    errors = (x - 0.25).square().flatten(1).mean(1)
    found = error_of(torch.full((1, 8, 8), 0.25), split="valid").scalars
    assert found["mse"].standard_error == pytest.approx((errors.std() / 200**0.5).item())
    assert found[""].standard_error == pytest.approx((errors.std() / 200**0.5 / x.var(correction=0)).item())


def test_codes_are_counted_over_all_positions_and_pictures() -> None:
    """Codes 0, 0, 1, 1 and 0, 1, 2, 2: frequencies 3/8, 3/8, 2/8 of 8 codes."""
    data = Fours([[0.5, 0.1, 1.2, 1.7], [0.0, 1.0, 2.0, 2.5]])
    evaluation = CodebookEvaluation("valid")
    evaluation.check(Floor(), data)
    scalars = evaluation.evaluate(Floor(), data).scalars
    p = torch.tensor([3, 3, 2]) / 8
    assert scalars[""].value == pytest.approx((-p * p.log()).sum().exp().item(), rel=1e-6)
    assert scalars["used"].value == pytest.approx(100 * 3 / 8)
    assert scalars[""].n_samples == 2 and "8 codes out of 8" in scalars[""].estimator
    assert "batch" not in scalars


def test_the_perplexity_of_batches_is_their_mean() -> None:
    """Pictures with 1, 2 and 4 equally frequent codes: variance of 1, 2, 4 is 7/3."""
    data = Fours([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 3.0, 3.0], [0.0, 1.0, 2.0, 3.0]])
    scalars = CodebookEvaluation("valid", batch_size=1).evaluate(Floor(), data).scalars
    assert scalars["batch"].value == pytest.approx((1 + 2 + 4) / 3)
    assert scalars["batch"].standard_error == pytest.approx((7 / 3 / 3) ** 0.5)


def test_a_model_without_codes_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs a model that has quantise\(\); Always has none"):
        CodebookEvaluation("valid").check(Always(torch.zeros(())), Digits())
    for evaluation in (CodebookEvaluation, ReconstructionErrorEvaluation):
        with pytest.raises(UserError, match="n_samples=0"):
            evaluation("valid", 0)
    with pytest.raises(UserError, match="batch_size=0"):
        CodebookEvaluation("valid", batch_size=0)
