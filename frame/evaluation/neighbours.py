"""The class of the nearest neighbours in code space, beside that of codes which cost nothing."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frame.data.base import Batch, DataSet
from frame.evaluation.base import Encodes, Evaluation, HasFeatures, LogEntry, Scalar, given
from frame.evaluation.floors import FLOORS, pixels, untrained
from frame.measures.neighbours import METRICS, check_codes, neighbours_vote
from frame.measures.pca import PCA
from frame.measures.statistics import fraction
from frame.mistakes import Mistake, at_least, choices

Rows = tuple[Tensor, Tensor]  # codes [N, D] and classes [N]
Take = Callable[[nn.Module, Batch], Tensor]
FEW = 100  # rows below which one class or equal codes may be chance: a dry run has four


def mean_code(model: Any, batch: Batch) -> Tensor:
    """The mean of q(z|x), [B, D]."""
    code: Tensor = model.encode(*given(model, batch)).mean
    return code.flatten(1)


def layer_before(model: Any, batch: Batch) -> Tensor:
    """The layer before the encoder's output, [B, D]."""
    code: Tensor = model.features(*given(model, batch))
    return code.flatten(1)


# by the word in `codes`: the capability, and what is taken
CODES: dict[str, tuple[type, Take]] = {
    "encode": (Encodes, mean_code),
    "features": (HasFeatures, layer_before),
}


def _of(take: Take, batch: Batch, model: nn.Module) -> Tensor:
    return take(model, batch)


class NeighbourEvaluation(Evaluation):
    """Accuracy in % of the class for which the nearest training pictures vote; each code is a number of its own.

    '' is the mean of encode(x), 'features' the layer before it. 'floor/pixels' are the pictures themselves,
    'floor/pca' as many principal components as the code has numbers, 'floor/untrained' and
    'floor/untrained_features' the same two codes with freshly drawn weights; floors do not change while training and
    are measured once. On 'train', a picture is no neighbour of itself.

    Args:
        evaluate_on: split.
        n_neighbours: that vote.
        codes: 'encode' and 'features'; what the model does not have is left out.
        floors: any of 'pixels', 'pca' and 'untrained'.
        n_bank: training pictures among which neighbours are sought; all of them if None or more than there are.
        n_samples: pictures of the split; all of them if None or more than there are.
        metric: 'euclidean' or 'cosine'.
        temperature: votes weigh exp(cosine / temperature); None: they are equal.

    Raises:
        Mistake: a number is out of range, or an unknown word; from `check`, the model has none of the codes or
            computes them from the labels; from `evaluate`, there is one class, or codes are NaN or all equal.
    """

    needs_data = ("x", "y")
    hidden = ("y",)

    def __init__(
        self,
        evaluate_on: str = "test",
        n_neighbours: int = 1,
        codes: Sequence[str] = ("encode", "features"),
        floors: Sequence[str] = FLOORS,
        n_bank: int | None = None,
        n_samples: int | None = None,
        metric: str = "euclidean",
        temperature: float | None = None,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_neighbours=n_neighbours)
        at_least(1, n_bank=1 if n_bank is None else n_bank, n_samples=1 if n_samples is None else n_samples)
        for kind, words, valid in (("code", codes, CODES), ("floor", floors, FLOORS), ("metric", [metric], METRICS)):
            for word in words:
                if word not in valid:
                    raise Mistake(choices(word, valid, kind=kind))
        self.codes, self.floors = tuple(codes), tuple(floors)
        self.n_bank, self.n_samples = n_bank, n_samples
        self.n_neighbours, self.metric, self.temperature = n_neighbours, metric, temperature
        self._floors: tuple[DataSet, dict[str, Scalar]] | None = None  # with the data that they belong to

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        name = type(model).__name__
        if "y" not in data.split("train").batch(torch.arange(1)):
            raise Mistake(f"NeighbourEvaluation needs 'y' in the data; 'train' of {type(data).__name__} has none")
        if not self._takes(model):
            methods = " or ".join(f"{word}()" for word in self.codes)
            raise Mistake(
                f"NeighbourEvaluation needs a model that has {methods}; {name} has none: remove this evaluation or "
                "choose another model"
            )

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry, sizes = LogEntry(self.evaluate_on), []
        for word, take in self._takes(model).items():
            bank, rows = self._rows(model, data, take)
            sizes.append(bank[0].shape[1])
            entry.scalars["" if word == "encode" else word] = self._measured(bank, rows)
        if self._floors is None or self._floors[0] is not data:
            self._floors = data, dict(self._measured_floors(model, data, sizes[0]))
        entry.scalars |= self._floors[1]
        return entry

    def _takes(self, model: nn.Module) -> dict[str, Take]:
        return {word: CODES[word][1] for word in self.codes if isinstance(model, CODES[word][0])}

    def _rows(self, model: nn.Module, data: DataSet, take: Take) -> tuple[Rows, Rows]:
        """Codes and classes of the bank and of the split."""

        def collected(split: str, n: int | None) -> Rows:
            pairs = [(take(model, batch), batch["y"]) for batch in self.batches(model, data, n, split=split)]
            return torch.cat([code for code, _ in pairs]), torch.cat([y for _, y in pairs])

        return collected("train", self.n_bank), collected(self.evaluate_on, self.n_samples)

    def _measured(self, bank: Rows, rows: Rows) -> Scalar:
        if len(bank[0]) >= FEW:
            check_codes(*bank)
        voted = neighbours_vote(
            *bank, rows[0], self.n_neighbours, self.metric, self.temperature, leave_one_out=self.evaluate_on == "train"
        )
        right, standard_error = fraction(voted == rows[1])
        votes = "votes" if self.temperature is None else f"exp(s / {self.temperature}) votes"
        estimator = f"{votes} of {self.n_neighbours} nearest of {len(bank[0])} training pictures, {self.metric}"
        return Scalar(100 * right, "%", len(voted), estimator, 100 * standard_error)

    def _measured_floors(self, model: nn.Module, data: DataSet, size: int) -> Iterator[tuple[str, Scalar]]:
        if {"pixels", "pca"} & set(self.floors):
            bank, rows = self._rows(model, data, lambda _, batch: pixels(batch["x"]))
            if "pixels" in self.floors:
                yield "floor/pixels", self._measured(bank, rows)
            if "pca" in self.floors:
                pca = PCA(bank[0], size)
                yield "floor/pca", self._measured((pca(bank[0]), bank[1]), (pca(rows[0]), rows[1]))
        if "untrained" in self.floors:
            few = next(self.batches(model, data, 2))
            for word, take in self._takes(model).items():
                fresh = untrained(model, partial(_of, take, few))
                key = "floor/untrained" if word == "encode" else f"floor/untrained_{word}"
                yield key, self._measured(*self._rows(fresh, data, take))
