"""Classification by nearest neighbours in code space, compared with codes that need no training."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from frame.common.errors import UserError, at_least, choices
from frame.data.base import DataSet, whole_batch
from frame.evaluation.base import Declaration, Encodes, Evaluation, HasFeatures, LogEntry, Scalar, Unsuited
from frame.evaluation.codes import labelled_codes
from frame.evaluation.floors import FLOORS, Floor, Rows, check_floors, floor_codes, floor_names
from frame.measures.neighbours import METRICS, check_classes, check_codes, neighbours_votes
from frame.measures.statistics import fraction

# by the word in `codes`: the capability that it needs, and the layer that is used
CODES = {"encode": (Encodes, "mean"), "features": (HasFeatures, "features")}
SENSITIVITY = "sensitivity"
OTHER_K, OTHER_T = (1, 5, 20, 200), (0.05, 0.07, 0.1, 0.5)  # shown beside the chosen ones
Table = tuple[list[str], list[list[Any]]]  # columns and rows


class NeighbourEvaluation(Evaluation):
    """Accuracy in % of a vote of the nearest training pictures, one number per code.

    '' uses the mean of encode(x), 'features' the layer before it. 'floor/pixels' uses the pictures themselves,
    'floor/pca' as many principal components as the code has dimensions, and 'floor/untrained' and
    'floor/untrained_features' the two codes of an untrained copy of the model. Floors do not change during training and
    are measured once. On 'train', a picture is not its own neighbour. A table for each code, 'sensitivity', has the
    accuracy for other numbers of neighbours and, if there is one, other temperatures.

    Args:
        evaluate_on: split.
        n_neighbours: number of neighbours that vote.
        codes: 'encode' and 'features'; those that the model does not have are left out.
        floors: any of 'pixels', 'pca', 'whitened' and 'untrained', or a `frame.architectures.frozen.Frozen`.
        n_bank: training pictures to search for neighbours; all of them if None or if there are fewer.
        n_samples: pictures of the split; all of them if None or if there are fewer.
        metric: 'euclidean' or 'cosine'.
        temperature: a vote weighs exp(cosine / temperature); with None all votes are equal.

    Raises:
        UserError: a number is out of range, or a word is unknown; from `check`, the model has none of the codes or
            computes them from the labels.
        NoNumber: from `evaluate`, codes that are NaN or all equal, or one class.
    """

    needs_data = ("x", "y")
    hidden = ("y",)

    def __init__(
        self,
        evaluate_on: str = "test",
        n_neighbours: int = 1,
        codes: Sequence[str] = ("encode", "features"),
        floors: Sequence[Floor] = FLOORS,
        n_bank: int | None = None,
        n_samples: int | None = None,
        metric: str = "euclidean",
        temperature: float | None = None,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_neighbours=n_neighbours)
        at_least(1, n_bank=n_bank, n_samples=n_samples)
        for kind, words, valid in (("code", codes, CODES), ("metric", [metric], METRICS)):
            for word in words:
                if word not in valid:
                    raise UserError(choices(word, valid, kind=kind))
        self.codes, self.floors = tuple(codes), check_floors(floors)
        self.n_bank, self.n_samples = n_bank, n_samples
        self.n_neighbours, self.metric, self.temperature = n_neighbours, metric, temperature
        self._floors: tuple[DataSet, dict[str, Scalar]] | None = None  # with the data that they were measured on

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        name = type(model).__name__
        if "y" not in whole_batch(data.split("train"), torch.arange(1)):
            raise Unsuited(
                f"NeighbourEvaluation needs 'y' in the data; 'train' of {type(data).__name__} has none", key="y"
            )
        if not self._layers(model):
            methods = " or ".join(f"{word}()" for word in self.codes)
            raise Unsuited(
                f"NeighbourEvaluation needs a model that has {methods}; {name} has none",
                capabilities=[(CODES[word][0],) for word in self.codes],
            )

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        layers = self._layers(model)
        floors = floor_names(self.floors, [*layers.values()])
        keys = ["" if word == "encode" else word for word in layers]
        numbers = dict.fromkeys([*keys, *(f"floor/{name}" for name in floors)], "%")
        return Declaration(self.evaluate_on, numbers, tables=[f"{key}/{SENSITIVITY}".lstrip("/") for key in keys])

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry, sizes = LogEntry(self.evaluate_on), []
        for word, layer in self._layers(model).items():
            bank, rows = self._rows(data, model, layer)
            sizes.append(bank[0].shape[1])
            key = "" if word == "encode" else word
            entry.scalars[key], entry.tables[f"{key}/{SENSITIVITY}".lstrip("/")] = self._measured(bank, rows, layer)
        if self._floors is None or self._floors[0] is not data:
            self._floors = data, dict(self._measured_floors(model, data, sizes[0]))
        entry.scalars |= self._floors[1]
        return entry

    def _layers(self, model: nn.Module) -> dict[str, str]:
        return {word: CODES[word][1] for word in self.codes if isinstance(model, CODES[word][0])}

    def _rows(self, data: DataSet, model: nn.Module, layer: str) -> tuple[Rows, Rows]:
        """Codes and classes of the bank and of the split."""
        bank = labelled_codes(model, data, "train", layer, self.n_bank)
        return bank, labelled_codes(model, data, self.evaluate_on, layer, self.n_samples)

    def _measured(self, bank: Rows, rows: Rows, layer: str = "") -> tuple[Scalar, Table]:
        """The accuracy, and for a layer of the model a table of those for other settings."""
        leave_one_out = self.evaluate_on == "train"
        votes = "equal votes" if self.temperature is None else f"T = {self.temperature:g}"
        estimator = f"kNN, k = {self.n_neighbours}, {votes}, {self.metric}, among {len(bank[0])} training pictures"
        check_classes(bank[1])
        check_codes(bank[0])
        settings = [(self.n_neighbours, self.temperature), *(self._others() if layer else ())]
        voted = neighbours_votes(*bank, rows[0], settings, self.metric, leave_one_out)
        found = [fraction(votes == rows[1]) for votes in voted]
        right, standard_error = found[0]
        shown = [[k, t or "", 100 * one] for (k, t), (one, _) in zip(settings, found, strict=True)]
        n, error, width = len(rows[1]), 100 * standard_error, bank[0].shape[1]
        return Scalar(100 * right, "%", n, estimator, error, layer, width=width), (
            ["neighbours", "temperature", "accuracy (%)"],
            shown,
        )

    def _others(self) -> list[tuple[int, float | None]]:
        """Other numbers of neighbours with the same temperature, then other temperatures."""
        ks = [(k, self.temperature) for k in OTHER_K if k != self.n_neighbours]
        ts = [(self.n_neighbours, t) for t in OTHER_T if self.temperature not in (None, t)]
        return [*ks, *ts]

    def _measured_floors(self, model: nn.Module, data: DataSet, size: int) -> Iterator[tuple[str, Scalar]]:
        layers, of = [*self._layers(model).values()], partial(self._rows, data)
        for name, (bank, rows) in floor_codes(self.floors, model, data, self.evaluate_on, layers, size, of):
            yield f"floor/{name}", self._measured(bank, rows)[0]
