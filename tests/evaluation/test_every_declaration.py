"""An evaluation writes what it declares, for each model that can serve it. Both are found by folder."""

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import NoNumber, UserError
from frame.composition.compose import chosen_evaluation
from frame.composition.folders import config_folder
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import Batch, DataSet, Source
from frame.data.take import Take
from frame.evaluation import code_information, scatter
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Scalar, evaluating
from frame.evaluation.similarity import Other, opening
from frame.measures.classifier import fit_classifier
from tests.models.test_every_model import composed
from tests.ranks import on_ranks

NAMES = sorted(file.stem for file in (config_folder() / "evaluation").glob("*.yaml"))
# a model for each set of capabilities and inputs
KINDS = ("VAE", "ConditionalVAE", "Classifier", "VIB", "VQVAE", "AE", "GAN", "InfoGAN", "MVInfoMax")
EXPERIMENTS = [*(f"digits_{kind}" for kind in KINDS), "gaussians_InformationEstimation", "linear_units_IRM"]
N_ROWS = 80  # of each split: more than the 64 features of generation
# the smallest that show every name
SMALL: dict[str, dict[str, Any]] = {
    "codebook": {"batch_size": 8},
    "dci": {"n_jobs": 1},
    "few_labels": {"labels_per_class": [1, 2], "n_draws": 2},
    "generation": {"features": "pca"},
    "information": {"batch_size": 16},
    "iwae_bound": {"n_samples": 10, "n_posterior_samples": 2},
    "label_information": {"n_neighbours": 1},
    "linear_probe": {"cs": [0.1]},
    "linear_probe_sgd": {"n_epochs": 1},
    "robustness": {"cs": [0.1]},
    "similarity": {"other": "another run"},
    "transfer": {"cs": [0.1]},
    "umap_scatter": {"n_neighbours": 5},
}


class Made:
    """Pictures of noise with two factors of three values, as digits_VAE takes them."""

    def __len__(self) -> int:
        return N_ROWS

    def batch(self, indices: Tensor) -> Batch:
        x = torch.rand(N_ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(5)).round()
        return {"x": x[indices], "index": indices, "factors": torch.stack([indices % 3, indices // 3 % 3], 1)}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


class Factors(DataSet):
    keys = ("x", "index", "factors")

    def load(self, split: str) -> Source:
        return Made()


@cache
def models() -> dict[str, tuple[nn.Module, DataSet]]:
    """Models untrained, each with a few rows of its data."""
    found: dict[str, tuple[nn.Module, DataSet]] = {}
    for name in EXPERIMENTS:
        config = composed(name)
        torch.manual_seed(0)
        found[name] = instantiate(resolved(config.model)), Take(instantiate(resolved(config.data)), N_ROWS)
    found["factors"] = found["digits_VAE"][0], Factors()
    return found


def evaluation(name: str) -> Evaluation:
    built: Evaluation = instantiate({**chosen_evaluation(name, {}), **SMALL.get(name, {})}, name)
    return built


def units(entry: LogEntry) -> dict[str, str]:
    return {key: scalar.unit for key, scalar in entry.scalars.items()}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = SimpleNamespace(fit_transform=lambda codes: codes[:, :2])  # UMAP is an extra, and its layout is not tested
    monkeypatch.setattr(scatter, "_umap", lambda: SimpleNamespace(UMAP=lambda **options: layout))
    monkeypatch.setattr(code_information, "fit_classifier", partial(fit_classifier, iterations=10))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", NAMES)
def test_ranks_find_what_one_process_finds(name: str) -> None:
    """For two models of the tests. With one batch of rows, the second rank has nothing to compute."""
    served = 0
    for case, (model, data) in models().items():
        if served == 2:
            break

        def evaluate(rank: int = 0) -> dict[str, Scalar] | None:
            measured = evaluation(name)
            with opening(lambda folder: Other(model, data, "study/run", 7)), evaluating(model):  # noqa: B023
                try:
                    measured.check(model, data)  # noqa: B023
                    return measured.evaluate(model, data).scalars  # noqa: B023
                except (UserError, NotImplementedError, TypeError):  # the last: a prior that needs a class
                    return None

        alone = evaluate()
        if alone is not None:
            served += 1
            assert on_ranks(2, evaluate) == [alone] * 2, case
    assert served


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", NAMES)
def test_declared_names_are_written(name: str) -> None:
    """Once for each different declaration over the models of the tests."""
    seen: list[Declaration] = []
    for case, (model, data) in models().items():
        measured = evaluation(name)
        with opening(lambda folder: Other(model, data, "study/run", 7)), evaluating(model):  # noqa: B023
            try:
                measured.check(model, data)
            except UserError:  # this model or its data cannot serve it
                continue
            declared = measured.declare(model, data)
            if declared in seen:
                continue
            try:
                entry = measured.evaluate(model, data)
            except (NoNumber, NotImplementedError):  # an encoder without noise
                continue
        assert dict(declared.numbers) == units(entry), case
        assert set(declared.pictures) == {*entry.images, *entry.figures}, case
        assert set(declared.tables) == set(entry.tables), case
        assert declared.split == entry.split == measured.evaluate_on, case
        assert declared.names("A") == entry.names("A")
        seen.append(declared)
    assert seen, "no model of the tests serves it"
