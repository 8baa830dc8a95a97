"""Parametrised cases of one kind: a few always run, the others in `make test-slow`."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def slow_but(often: Container[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases in order; those that are not in `often` are marked slow. A tuple is several arguments."""
    return [
        case if case in often else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]
