"""Similarity of two runs' codes of the same rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import nn

from frame.common.errors import UserError, at_least, choices
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import LAYERS, codes_of
from frame.measures import similarity as measures


class Other(NamedTuple):
    """Another run, opened, after `iteration` iterations. `name` identifies it without paths of the machine."""

    model: nn.Module
    data: DataSet
    name: str
    iteration: int


_opener: ContextVar[Callable[[str], Other] | None] = ContextVar("opener", default=None)


@contextmanager
def opening(opener: Callable[[str], Other] | None) -> Iterator[None]:
    """Within this context, `opener` opens other runs, so that the caller decides what may be built. None forbids it."""
    token = _opener.set(opener)
    try:
        yield
    finally:
        _opener.reset(token)


class SimilarityEvaluation(Evaluation):
    """Debiased linear CKA, 'cka/<other>', and mutual nearest neighbours, 'mutual_knn/<other>', of two runs' codes.

    Both runs encode the same rows of the same data. A run compared with itself has 1 for both numbers. Only finished
    runs are compared.

    Args:
        other: the other run's folder.
        evaluate_on: split.
        layer: 'mean', 'sample' or 'features' of this run.
        other_layer: layer of the other run; None takes the same.
        n_samples: rows of the split; all of them if None or if there are fewer.
        n_neighbours: neighbours in mutual_knn.

    Raises:
        UserError: no other run, an unknown layer, or data or rows that differ.
        NoNumber: from `evaluate`, codes of one side that are NaN or all equal, or too few rows.
    """

    needs = (Encodes,)

    def __init__(
        self,
        other: str | None = None,
        evaluate_on: str = "test",
        layer: str = "mean",
        other_layer: str | None = None,
        n_samples: int | None = 10_000,
        n_neighbours: int = 10,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples, n_neighbours=n_neighbours)
        for name in (layer, other_layer or layer):
            if name not in LAYERS:
                raise UserError(choices(name, LAYERS, kind="layer"))
        self.other, self.layer, self.other_layer = other, layer, other_layer or layer
        self.n_samples, self.n_neighbours = n_samples, n_neighbours

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        self._opened()

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        other = self._opened().name
        return Declaration(self.evaluate_on, {f"cka/{other}": "of 1", f"mutual_knn/{other}": "of 1"})

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        other = self._opened()
        ours = list(self.batches(model, data, self.n_samples))
        theirs = list(self.batches(other.model, other.data, self.n_samples))
        same = len(ours) == len(theirs) and all(
            torch.equal(a["x"].cpu(), b["x"].cpu()) for a, b in zip(ours, theirs, strict=True)
        )
        if not same:
            raise UserError(
                f"{other.name} has other data or rows in '{self.evaluate_on}': compare runs on the same data"
            )
        x = codes_of(model, data, self.evaluate_on, self.layer, self.n_samples).codes
        y = codes_of(other.model, other.data, self.evaluate_on, self.other_layer, self.n_samples).codes
        between = f"{self.layer} with {self.other_layer} of {other.name} [at iteration {other.iteration}]"
        chance = self.n_neighbours / (len(x) - 1)
        near = f"the same among {self.n_neighbours} nearest by cosine, chance {chance:.2g}; {between}"
        found = {
            f"cka/{other.name}": (measures.cka(x, y), f"debiased linear CKA; {between}"),
            f"mutual_knn/{other.name}": (measures.mutual_knn(x, y, self.n_neighbours), near),
        }
        scalars = {
            key: Scalar(value, "of 1", len(x), text, layer=self.layer, better="")
            for key, (value, text) in found.items()
        }
        return LogEntry(self.evaluate_on, scalars)

    def _opened(self) -> Other:
        if self.other is None:
            raise UserError("similarity needs the other run: similarity.other=runs/...")
        opener = _opener.get()
        if opener is None:
            raise UserError("similarity compares finished runs: frame evaluate RUN evaluation=[similarity] ...")
        return opener(self.other)
