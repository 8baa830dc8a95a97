"""The page of methods is complete: each file in frame/models is on it, and everything it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "methods.md").read_text()
NAMED = set(re.findall(r"`(\w+)`", PAGE))


def stems(folder: str, pattern: str) -> set[str]:
    return {file.stem for file in (ROOT / folder).glob(pattern)} - {"base", "__init__"}


def test_every_method_is_on_the_page() -> None:
    assert stems("frame/models", "*.py") <= NAMED


def test_every_experiment_is_on_the_page_and_no_other() -> None:
    experiments = stems("config/experiment", "*.yaml")
    families = {name.split("_")[0] for name in experiments}
    shown = {name for name in NAMED if name.split("_")[0] in families and "_" in name}
    assert shown <= experiments
    beside = {"VAE_MNIST", "MNIST_VAE_as_IWAE", "MNIST_MIB_VAE"}  # another name, and two baselines of a comparison
    assert experiments - shown - beside == set()
