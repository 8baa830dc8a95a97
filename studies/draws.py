"""Trials that are drawn beforehand: a method's default first, then points of the ranges that a file gives it."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frame.composition import config_files
from frame.sweeps.search_space import distribution
from frame.sweeps.sweep_file import typed

FOLDER = Path(__file__).parent / "ranges"


def ranges(name: str) -> dict[str, Any]:
    """What a file in ranges/ says: for each method its `words` and, by key, what its trials are drawn from."""
    found: dict[str, Any] = config_files.load(FOLDER / name)
    return found


def trials(method: str, words: str, searched: Mapping[str, Mapping[str, Any]], n: int) -> Iterator[tuple[str, str]]:
    """The names of a method's trials, such as 'SimCLR_00', each with its words.

    The first is the default. The others depend on the method's name, their number and the ranges alone: no trial
    changes if others are added.

    Args:
        method: its name.
        words: what is typed for its default.
        searched: by key, a distribution in the form of a sweep file.
        n: trials, with the default.
    """
    found = {key: distribution(key, spec) for key, spec in searched.items()}
    for number in range(n):
        draw = np.random.default_rng((zlib.crc32(method.encode()), number))
        drawn = [f"{key}={shown(of.at(float(draw.random())))}" for key, of in found.items()] if number else []
        yield f"{method}_{number:02d}", " ".join([words, *drawn])


def shown(value: Any) -> str:
    """A value for the command line, numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else typed(value)


def method_of(variant: str) -> str:
    """The method of a trial."""
    return variant.rpartition("_")[0]
