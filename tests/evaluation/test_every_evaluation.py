"""Evaluations on a toy data set: correct numbers, the same pictures each time, and no side effects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.common.errors import NoNumber, UserError
from frame.data.base import Batch, DataSet, Source
from frame.evaluation.accuracy import AccuracyEvaluation
from frame.evaluation.base import Evaluation, LogEntry, Scalar, evaluating
from frame.evaluation.elbo import ELBOEvaluation
from frame.evaluation.measured import Measured, Moment
from frame.evaluation.pictures import GAP, grid
from frame.evaluation.reconstruction import ImageReconstructionQualitativeEvaluation
from frame.evaluation.samples import ImageSampleEvaluation
from frame.evaluation.shards import seed_chunk
from frame.evaluation.traversals import LatentTraversalEvaluation
from frame.models.Classifier import Classifier
from frame.models.VAE import VAE
from tests import digits


class ToySource:
    """40 pictures of noise, drawn anew at each use like dynamic binarization, with labels 0, 1, 2, ..."""

    def __init__(self, labelled: bool) -> None:
        self.x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(5))
        self.labelled = labelled

    def __len__(self) -> int:
        return 40

    def batch(self, indices: Tensor) -> Batch:
        labels = {"y": indices % 10} if self.labelled else {}
        return {"x": self.x[indices], "index": indices, **labels}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": torch.bernoulli(batch["x"], generator=generator)}


class Toy(DataSet):
    def __init__(self, labelled: bool = True) -> None:
        super().__init__()
        self.labelled = labelled

    def load(self, split: str) -> Source:
        return ToySource(self.labelled)


class Identity(nn.Module):
    """Reconstructs x as it is; 'samples' are halves."""

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        return x

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        return torch.full((n_samples, 1, 8, 8), 0.5)


class Oracle(nn.Module):
    """Puts 0.91 on class 0, 0.01 on each of the others."""

    def predict(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 10), 0.01).index_fill(1, torch.tensor([0]), 0.91).log()


def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), beta=0.1)


def run(evaluation: Evaluation, model: nn.Module) -> LogEntry:
    evaluation.check(model, Toy())
    with evaluating(model):
        return evaluation.evaluate(model, Toy())


def shown(figure: Figure) -> np.ndarray:
    """The picture in a figure."""
    return np.asarray(figure.axes[0].images[0].get_array())


EVALUATIONS = [
    ELBOEvaluation("valid", 16),
    ImageReconstructionQualitativeEvaluation("valid", 4, sample_latents=True, sample_images=True),
    ImageSampleEvaluation(4, sample_images=True),
    LatentTraversalEvaluation("valid", n_dims=2, n_steps=3),
]


@pytest.mark.parametrize("evaluation", EVALUATIONS, ids=lambda e: type(e).__name__)
def test_twice_the_same_whatever_was_drawn_before(evaluation: Evaluation) -> None:
    model = vae()
    first = run(evaluation, model)
    torch.rand(7)
    second = run(evaluation, model)
    assert first.scalars == second.scalars
    for key, image in first.images.items():
        assert np.array_equal(image, second.images[key])
    for key, figure in first.figures.items():
        assert np.array_equal(shown(figure), shown(second.figures[key]))


def test_elbo_counts_the_kl_once_whatever_beta_is() -> None:
    found = run(ELBOEvaluation("valid", 1000), vae()).scalars
    assert found[""].value == pytest.approx(-found["rate"].value - found["distortion"].value, rel=1e-6)
    assert found[""].unit == "nats per picture" and found[""].n_samples == 40  # all of them
    assert found[""].standard_error is not None and 0 < found[""].standard_error < 20


def test_elbo_equals_the_mean_of_the_models_bound() -> None:
    model = vae()
    evaluation = ELBOEvaluation("valid", 16)
    value = run(evaluation, model).scalars[""].value
    with evaluating(model):
        (batch,) = evaluation.batches(model, Toy(), 16)
        seed_chunk(0, 0)
        assert value == pytest.approx(model.log_likelihood_bound(batch["x"])["elbo"].mean().item(), rel=1e-5)


def test_accuracy_of_a_guess() -> None:
    """Class 0 always, on 4 rows of each class: accuracy 10 %, cross-entropy -0.1 log 0.91 - 0.9 log 0.01."""
    found = run(AccuracyEvaluation("valid"), Oracle()).scalars
    assert found[""].value == pytest.approx(10) and found["error"].value == pytest.approx(90)
    assert found[""].standard_error == pytest.approx(100 * (0.1 * 0.9 / 40) ** 0.5)
    assert found["cross_entropy"].value == pytest.approx(-0.1 * np.log(0.91) - 0.9 * np.log(0.01), rel=1e-5)
    assert found["error"].unit == "%" and found["error"].n_samples == 40


def test_reconstructions_stand_below_their_originals(tmp_path: Path) -> None:
    """12 pictures make two blocks of originals above reconstructions; read back from a file."""
    figure = run(ImageReconstructionQualitativeEvaluation("valid", 12), Identity()).figures[""]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["original", "reconstruction"] * 2
    assert figure.axes[0].get_xlabel() == "the mean of p(x|z) for the mean of q(z|x); valid"
    image = shown(figure)
    Image.fromarray(image).save(tmp_path / "grid.png")
    image = np.asarray(Image.open(tmp_path / "grid.png"))
    size = 56 + GAP
    pictures = image[:, -(10 * size + GAP) :]  # without the labels' margin
    rows = [pictures[GAP + r * size : GAP + r * size + 56] for r in range(4)]
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[2], rows[3])
    assert not np.array_equal(rows[0], rows[2])
    assert (rows[2][:, 2 * size + GAP :] == 255).all()  # 2 of 10 places are taken


def test_grid_enlarges_without_smoothing_and_keeps_colours() -> None:
    pictures = torch.zeros(3, 3, 2, 2)
    pictures[0, 0, 0, 1] = 1.0  # the first picture's upper right pixel is red
    pictures[2] = 7.0  # out of range: clamped to white
    image = grid(pictures, n_columns=2)
    assert image.shape == (2 * (56 + GAP) + GAP, 2 * (56 + GAP) + GAP, 3) and image.dtype == np.uint8
    assert (image[GAP : GAP + 28, GAP + 28 : GAP + 56] == [255, 0, 0]).all()
    assert (image[GAP + 28 : GAP + 56, GAP : GAP + 56] == 0).all()
    assert (image[:GAP] == 255).all() and (image[GAP + 56 + GAP :] == 255).all()


def test_samples_make_a_square() -> None:
    figure = run(ImageSampleEvaluation(9), Identity()).figures[""]
    assert figure.axes[0].get_xlabel() == "9 samples, means of p(x|z)"
    image = shown(figure)
    assert image.shape == (3 * (56 + GAP) + GAP, 3 * (56 + GAP) + GAP, 3)
    assert image[GAP + 5, GAP + 5].tolist() == [128, 128, 128]


def test_traversals_start_with_the_most_informative_latent() -> None:
    model = vae()
    with torch.no_grad():  # z[1] far from the prior, z[0] and z[2] at it
        model.encoder.head.linear.weight.zero_()  # type: ignore[union-attr, operator]
        model.encoder.head.linear.bias.copy_(torch.tensor([0.0, 2.0, 0.0, 0.5413, 0.5413, 0.5413]))  # type: ignore[union-attr, operator]
    figure = run(LatentTraversalEvaluation("valid", n_dims=2, n_steps=3, limit=2.0), model).figures[""]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "z[1]: 2.00 nats" and labels[1].endswith(": 0.00 nats")  # KL = mu^2 / 2
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["-2.0", "0.0", "2.0"]
    assert shown(figure).shape[:2] == (2 * (56 + GAP) + GAP, 3 * (56 + GAP) + GAP)


def test_mode_and_random_state_are_restored_even_if_an_evaluation_raises() -> None:
    class Broken(Evaluation):
        def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
            assert not model.training and not torch.is_grad_enabled()
            torch.rand(3)
            raise RuntimeError("broken")

    model = vae()
    model.decoder.eval()  # a part that was in eval mode stays so
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"), evaluating(model):
        Broken().evaluate(model, Toy())
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes


def test_a_model_without_the_capability_is_refused_with_both_names() -> None:
    classifier = Classifier(digits.Encoder(3, [8]), digits.Predictor(3))
    for evaluation in EVALUATIONS:
        with pytest.raises(UserError, match=f"{type(evaluation).__name__} needs a model.*Classifier has none"):
            evaluation.check(classifier, Toy())
    with pytest.raises(UserError, match=r"AccuracyEvaluation needs a model that has predict\(\); VAE"):
        AccuracyEvaluation().check(vae(), Toy())


def test_data_without_labels_is_refused_with_both_names() -> None:
    with pytest.raises(UserError, match="AccuracyEvaluation needs 'y' in the data; Toy has only: index, x"):
        AccuracyEvaluation().check(Oracle(), Toy(labelled=False))


def test_nan_raises_and_an_unknown_standard_error_is_none() -> None:
    entry = LogEntry("valid", {"": Scalar(1.0, standard_error=float("nan")), "rate": Scalar(float("nan"))})
    records = Measured("ELBO", entry, Moment(0, 0.0, 0.0, "raw"), 0.0).records()
    assert [record["standard_error"] for record in records] == [None, None]
    with pytest.raises(NoNumber, match="rate is NaN"):
        entry.check()
    LogEntry("valid", {"": Scalar(float("-inf"))}).check()


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(UserError, match="n_samples=0"):
        ELBOEvaluation("valid", 0)
    with pytest.raises(UserError, match="n_pictures=0"):
        ImageSampleEvaluation(0)
    with pytest.raises(UserError, match="limit=0"):
        LatentTraversalEvaluation(limit=0.0)
