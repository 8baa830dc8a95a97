"""Results do not change: the norm of each weight after 10 iterations, for every experiment on small data."""

from pathlib import Path

import pytest

from tests.norms import EXPERIMENTS, has_data, norms, read

OFTEN = ("digits_VAE", "digits_GAN", "digits_Joint")  # one of each procedure


def test_every_experiment_has_its_norms() -> None:
    assert sorted(read()) == EXPERIMENTS, "python -m tests.norms, with DATA_ROOT set, writes the missing ones"


@pytest.mark.parametrize(
    "experiment", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
)
def test_norms_after_ten_iterations_are_unchanged(experiment: str, tmp_path: Path) -> None:
    if not has_data(experiment):
        pytest.skip("DATA_ROOT is not set to a folder that has MNIST/raw")
    assert norms(experiment, tmp_path) == pytest.approx(read()[experiment], rel=1e-4)
