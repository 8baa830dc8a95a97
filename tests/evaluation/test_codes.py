"""Codes are cached for every method that encodes, whatever its buffers are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from frame.composition.folders import options
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.evaluation.base import Encodes
from frame.evaluation.codes import caching, codes_of
from tests.models.test_every_model import composed
from tests.slow import slow_but

NAMES = [name for name in options("experiment") if name.startswith("digits_")]
# random, fixed and whole-numbered codes, several latents, two players, normalised by the batch, tokens, no encoder
OFTEN = [f"digits_{name}" for name in ("VAE", "AE", "VQVAE", "HierarchicalVAE", "BiGAN", "SimCLR", "MAE", "GAN")]


@pytest.mark.parametrize("experiment", slow_but(OFTEN, NAMES))
def test_codes_are_kept_and_belong_to_the_weights(experiment: str, tmp_path: Path) -> None:
    config = composed(experiment)
    model: Any = instantiate(resolved(config.model))
    data = instantiate(resolved(config.data))
    encodes: Any = Encodes  # Any, because mypy would not take the model for a module
    if not isinstance(model, encodes) or "y" in getattr(model, "inputs", ()):
        pytest.skip("it encodes pictures only with other inputs")
    with caching(tmp_path):
        first = codes_of(model, data, "valid", n_samples=10).codes
        assert torch.equal(codes_of(model, data, "valid", n_samples=10).codes, first)
        assert len(list(tmp_path.iterdir())) == 1
        with torch.no_grad():
            next(model.parameters()).mul_(2)
        codes_of(model, data, "valid", n_samples=10)
        assert len(list(tmp_path.iterdir())) == 2
