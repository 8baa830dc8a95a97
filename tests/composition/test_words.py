"""Keywords of Python become the words that would be typed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from frame.common.errors import UserError
from frame.composition.words import typed, words_of


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 1e-5, -2.5, "a", "two words", "it's", [1, [2, "b c"]], {"a": 1}, "${params.lr}", "a=b,c", ""],
)
def test_hydra_reads_the_same_values(value: Any) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={typed(value)}"])
    assert override.value() == value


def test_values_of_numpy_and_paths_are_typed() -> None:
    assert [typed(np.int64(3)), typed(np.float32(0.5)), typed(Path("a/b c")), typed((1, 2))] == [
        "3",
        "0.5",
        "'a/b c'",
        "[1,2]",
    ]


def test_keywords_become_words() -> None:
    options = {"params": {"beta": 0.1}, "train_for": "5 epochs", "evaluations": ["elbo"], "checkpoint": {"best": None}}
    assert words_of(["digits_VAE", "seed=3"], options) == [
        "+experiment=digits_VAE",
        "seed=3",
        "params.beta=0.1",
        "train_for='5 epochs'",
        "evaluations={elbo:{}}",
        "checkpoint.best=null",
    ]


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        ([3], {}, "3 is no text: write 'key=value'"),
        (["a", "b"], {}, "'b': only the first word may be an experiment's name"),
        (["--config-dir=x"], {}, "the folder of config files is config_dir=..."),
        ([], {"optimization": object()}, "optimization=<object object at"),
    ],
)
def test_what_cannot_be_typed_is_refused(words: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        words_of(words, options)
    assert said in str(error.value)
