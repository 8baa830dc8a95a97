"""Prediction by nearest neighbours in code space, compared with codes that need no training."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, at_least, choices
from frame.common.numbers import plural
from frame.data.base import DataSet, whole_batch
from frame.evaluation.base import Declaration, Encodes, Evaluation, HasFeatures, LogEntry, Scalar, Unsuited
from frame.evaluation.codes import labelled_codes, named
from frame.evaluation.floors import FLOORS, Floor, Rows, check_floors, floor_codes, floor_names
from frame.evaluation.scored import BY_TARGET, Target, by_score, declared, scored, table_of
from frame.measures.neighbours import METRICS, check_codes, neighbours_means, neighbours_votes
from frame.measures.scores import KINDS, check_targets, goodness, kind_of

# by the word in `codes`: the capability that it needs, and the layer that is used
CODES = {"encode": (Encodes, "mean"), "features": (HasFeatures, "features")}
SENSITIVITY = "sensitivity"
OTHER_K, OTHER_T = (1, 5, 20, 200), (0.05, 0.07, 0.1, 0.5)  # shown beside the chosen ones
Table = tuple[list[str], list[list[Any]]]  # columns and rows


class NeighbourEvaluation(Evaluation):
    """Scores of a vote of the nearest training rows; of several labels and of numbers, the neighbours' weighted mean.

    The names of the scores are those of `LinearProbeEvaluation`: '' is the accuracy, 'R2' that of numbers. Those
    without a layer use the mean of encode(x), 'features' the layer before it. 'floor/pixels' uses the rows themselves,
    'floor/pca' as many principal components as the code has dimensions, and 'floor/untrained' and
    'floor/untrained_features' the two codes of an untrained copy of the model. Floors do not change during training and
    are measured once. On 'train', a row is not its own neighbour. A table for each code, 'sensitivity', has the first
    score for other numbers of neighbours and, if there is one, other temperatures.

    Args:
        evaluate_on: split.
        n_neighbours: number of neighbours that vote.
        codes: 'encode' and 'features'; those that the model does not have are left out.
        floors: any of 'pixels', 'pca', 'whitened' and 'untrained', or a `frame.architectures.frozen.Frozen`.
        n_bank: training rows to search for neighbours; all of them if None or if there are fewer.
        n_samples: rows of the split; all of them if None or if there are fewer.
        metric: 'euclidean' or 'cosine'.
        temperature: a vote weighs exp(cosine / temperature); with None all votes are equal.

    Raises:
        UserError: a number is out of range, or a word is unknown; from `check`, the model has none of the codes or
            computes them from the labels.
        NoNumber: from `evaluate`, codes that are NaN or all equal, one class, or numbers that are all equal.
    """

    needs_data = ("x", "y")
    hidden = ("y",)
    kinds = KINDS

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
        layers, target = [*self._layers(model).values()], Target.of(data, "train")
        numbers = {key: unit for layer in layers for key, unit in declared(target, layer).items()}
        for floor in floor_names(self.floors, layers):
            numbers |= declared(target, floor=floor)
        tables = [named(layer, SENSITIVITY) for layer in layers]
        tables += [named(layer, BY_TARGET) for layer in layers if target.several]
        return Declaration(self.evaluate_on, numbers, tables=tables)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry, sizes, target = LogEntry(self.evaluate_on), [], Target.of(data, "train")
        for layer in self._layers(model).values():
            bank, rows = self._rows(data, model, layer)
            sizes.append(bank[0].shape[1])
            settings = [(self.n_neighbours, self.temperature), *self._others()]
            found = self._predicted(bank, rows, settings)
            entry.scalars |= self._scored(target, found[0], bank, rows, data, layer)
            entry.tables[named(layer, SENSITIVITY)] = _sensitivity(target, settings, found, rows[1])
            if target.several:
                entry.tables[named(layer, BY_TARGET)] = table_of(target, found[0], rows[1])
        if self._floors is None or self._floors[0] is not data:
            self._floors = data, dict(self._measured_floors(model, data, sizes[0]))
        entry.scalars = by_score(target, entry.scalars | self._floors[1])
        return entry

    def _layers(self, model: nn.Module) -> dict[str, str]:
        return {word: CODES[word][1] for word in self.codes if isinstance(model, CODES[word][0])}

    def _rows(self, data: DataSet, model: nn.Module, layer: str) -> tuple[Rows, Rows]:
        """Codes and labels of the bank and of the split."""
        bank = labelled_codes(model, data, "train", layer, self.n_bank)
        return bank, labelled_codes(model, data, self.evaluate_on, layer, self.n_samples)

    def _predicted(self, bank: Rows, rows: Rows, settings: list[tuple[int, float | None]]) -> list[Tensor]:
        """For each number of neighbours and temperature: classes [N], or shares of labels or numbers [N, K]."""
        check_targets(bank[1])
        check_codes(bank[0])
        by = neighbours_votes if kind_of(bank[1]) == "classes" else neighbours_means
        return by(*bank, rows[0], settings, self.metric, self.evaluate_on == "train")

    def _scored(
        self, target: Target, found: Tensor, bank: Rows, rows: Rows, data: DataSet, layer: str = "", floor: str = ""
    ) -> dict[str, Scalar]:
        votes = "equal votes" if self.temperature is None else f"T = {self.temperature:g}"
        among = f"{len(bank[0])} training {plural(data.row)}"
        estimator = f"kNN, k = {self.n_neighbours}, {votes}, {self.metric}, among {among}"
        return scored(target, found, rows[1], estimator, layer, floor, bank[0].shape[1])

    def _others(self) -> list[tuple[int, float | None]]:
        """Other numbers of neighbours with the same temperature, then other temperatures."""
        ks = [(k, self.temperature) for k in OTHER_K if k != self.n_neighbours]
        ts = [(self.n_neighbours, t) for t in OTHER_T if self.temperature not in (None, t)]
        return [*ks, *ts]

    def _measured_floors(self, model: nn.Module, data: DataSet, size: int) -> Iterator[tuple[str, Scalar]]:
        layers, of, target = [*self._layers(model).values()], partial(self._rows, data), Target.of(data, "train")
        for name, (bank, rows) in floor_codes(self.floors, model, data, self.evaluate_on, layers, size, of):
            (found,) = self._predicted(bank, rows, [(self.n_neighbours, self.temperature)])
            yield from self._scored(target, found, bank, rows, data, floor=name).items()


def _sensitivity(
    target: Target, settings: Sequence[tuple[int, float | None]], found: Sequence[Tensor], y: Tensor
) -> Table:
    """The first score of each setting."""
    percent = target.units[target.main] == "%"
    name = f"{target.main.replace('_', '-')}{' (%)' if percent else ''}"
    rows = [
        [k, t or "", (100 if percent else 1) * goodness(predicted, y)]
        for (k, t), predicted in zip(settings, found, strict=True)
    ]
    return ["neighbours", "temperature", name], rows
