"""How well a linear model on frozen codes predicts 'y', compared with codes that need no training."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Unsuited
from frame.evaluation.codes import check_layers, labelled_codes, layers_of, require_layers
from frame.evaluation.confusion import confusion_figure
from frame.evaluation.floors import FLOORS, Floor, Rows, check_floors, floor_codes, floor_names
from frame.evaluation.scored import BY_TARGET, Target, by_score, declared, key_of, scored, table_of
from frame.measures.linear_probe import (
    CS,
    LRS,
    LinearProbe,
    best,
    confusion,
    linear_probes,
    sgd_probes,
)
from frame.measures.scores import KINDS

TRAIN_ON, CHOOSE_ON = "train", "valid"
HOW = {"classes": "logistic regression", "labels": "logistic regression of each label", "numbers": "ridge regression"}
NAMES = {"accuracy": "accuracy", "macro_F1": "macro-F1", "R2": "R2"}


class LinearProbeEvaluation(Evaluation):
    """Scores of a linear model on frozen codes.

    Classes: a multinomial logistic regression, with its accuracy and, of unequal classes, 'balanced_accuracy' in %, and
    a figure of confusions. Several labels a row: a logistic regression of each, 'macro_F1' and 'average_precision' in
    %. Numbers: a ridge regression, 'R2', and 'mean_absolute_error' in the units of the file, if it is one number.
    Several labels or numbers have a table, 'targets', with the scores of each.

    It is trained on 'train' once for each regularisation, and 'valid' chooses one; only that one is tested on the
    reported split. Names without a layer are those of the mean of encode(x); 'features/R2' is that of another layer.
    'floor/pixels' or 'R2/floor/pixels' is the same on the pictures themselves, 'floor/pca' on as many principal
    components as the code has dimensions, and 'floor/untrained' on codes of an untrained copy of the model; floors are
    measured once. The table 'valid' has the first of these scores for each regularisation on 'valid'.

    Args:
        evaluate_on: split that is reported.
        cs: inverse strengths of the L2 regularisation, on codes of variance 1.
        layers: any of 'mean', 'sample' and 'features'; those that the model does not have are left out.
        floors: any of 'pixels', 'pca', 'whitened' and 'untrained', or a `frame.architectures.frozen.Frozen`.
        n_train_samples: rows of 'train'; all of them if None or if there are fewer.
        n_samples: rows of the split; all of them if None or if there are fewer.

    Raises:
        UserError: a number is out of range, or a word is unknown; from `check`, the model has none of the layers, or a
            split has no labels.
        NoNumber: from `evaluate`, codes that are not finite or all equal, one class, numbers that are all equal, or too
            few rows.
    """

    needs_data = ("x", "y")
    hidden = ("y",)
    kinds: tuple[str, ...] = KINDS
    of = ""  # names the data if they are not the run's

    def __init__(
        self,
        evaluate_on: str = "test",
        cs: Sequence[float] = CS,
        layers: Sequence[str] = ("mean", "features"),
        floors: Sequence[Floor] = FLOORS,
        n_train_samples: int | None = 50_000,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_train_samples=n_train_samples, n_samples=n_samples)
        if not cs or not min(cs) > 0:
            raise UserError(f"cs={list(cs)}: give one regularisation or more, all positive")
        self.cs, self.layers, self.floors = tuple(cs), check_layers(layers), check_floors(floors)
        self.n_train_samples, self.n_samples = n_train_samples, n_samples
        self._floors: tuple[DataSet, LogEntry] | None = None  # with the data that they were measured on

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        require_layers(self, model, self.layers)
        for split in (TRAIN_ON, CHOOSE_ON):
            if "y" not in data.split(split).batch(torch.arange(1)):
                raise Unsuited(f"{type(self).__name__} needs 'y' in the data; '{split}' has none", key="y")

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        layers, target = layers_of(model, self.layers), Target.of(data, TRAIN_ON)
        floors = floor_names(self.floors, layers)
        numbers = {key: unit for layer in layers for key, unit in declared(target, layer).items()}
        numbers |= {key: unit for floor in floors for key, unit in declared(target, floor=floor).items()}
        places = [*(_place(layer) for layer in layers), *(_place(floor=floor) for floor in floors)]
        shown = [f"{_place(layer)}/confusion".lstrip("/") for layer in layers] if target.kind == "classes" else []
        tables = [f"{place}/{CHOOSE_ON}".lstrip("/") for place in places]
        if target.several:
            tables += [f"{_place(layer)}/{BY_TARGET}".lstrip("/") for layer in layers]
        return Declaration(self.evaluate_on, numbers, shown, tables)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry, sizes, target = LogEntry(self.evaluate_on), [], Target.of(data, TRAIN_ON)
        for layer in layers_of(model, self.layers):
            rows = self._rows(data, model, layer)
            sizes.append(rows[0][0].shape[1])
            self._measure(entry, target, rows, layer)
        if self._floors is None or self._floors[0] is not data:
            floors, of = LogEntry(self.evaluate_on), partial(self._rows, data)
            layers = layers_of(model, self.layers)
            for name, rows in floor_codes(self.floors, model, data, self.evaluate_on, layers, sizes[0], of):
                self._measure(floors, target, rows, floor=name)
            self._floors = data, floors
        entry.scalars = by_score(target, entry.scalars | self._floors[1].scalars)
        entry.tables |= self._floors[1].tables
        return entry

    def _rows(self, data: DataSet, model: nn.Module, layer: str) -> tuple[Rows, ...]:
        """Codes and labels of the rows to train on, to choose on and to test on."""
        sizes = {TRAIN_ON: self.n_train_samples, CHOOSE_ON: None}
        asked = [*sizes.items(), (self.evaluate_on, self.n_samples)]
        return tuple(labelled_codes(model, data, split, layer, n) for split, n in asked)

    def _measure(
        self, entry: LogEntry, target: Target, rows: tuple[Rows, ...], layer: str = "", floor: str = ""
    ) -> None:
        """Adds what a probe on these rows finds to the entry; with figures and tables of a layer (a floor has none)."""
        train, valid, judged = rows
        settings, probes, how = self.probes(*train)
        chosen, found = best(probes, *valid)
        probe = probes[chosen]
        probe.check(judged[1])
        predicted = probe.predicted(judged[0])
        touched = {
            CHOOSE_ON: f"chosen on {CHOOSE_ON}, which is what is judged: optimistic",
            TRAIN_ON: f"chosen on {CHOOSE_ON}; judged on rows that it was trained on",
        }.get(self.evaluate_on, f"chosen on {CHOOSE_ON}, {self.evaluate_on} touched once")
        edge = ", at the end of those tried" if len(probes) > 1 and chosen in (0, len(probes) - 1) else ""
        # results are in brackets, because they may differ between runs of one protocol
        setting = f"one of {len(probes)} [{settings[chosen]}{edge}]"
        estimator = f"{self.of}{how}, {setting}; {len(train[0])} of {TRAIN_ON}, {touched}"
        entry.scalars |= scored(target, predicted, judged[1], estimator, layer, floor, train[0].shape[1])
        names = [setting.split(" = ") for setting in settings]
        unit = target.units[target.main]
        factor, title = 100 if unit == "%" else 1, f"{NAMES[target.main]} on {CHOOSE_ON}{f' ({unit})' if unit else ''}"
        table = [[float(value), factor * one] for (_, value), one in zip(names, found, strict=True)]
        place = _place(layer, floor)
        entry.tables[f"{place}/{CHOOSE_ON}".lstrip("/")] = ([names[0][0], title], table)
        if layer and target.several:
            entry.tables[f"{place}/{BY_TARGET}".lstrip("/")] = table_of(target, predicted, judged[1])
        if layer and target.kind == "classes":
            right = entry.scalars[key_of("accuracy", layer)].value
            title = f"Linear probe on {self.of}{self.evaluate_on}, layer {layer}: {right:.2f} %"
            counts = confusion(probe(judged[0]).argmax(1), judged[1], len(probe.bias))
            figure = confusion_figure(counts, title, target.names[: len(counts)])
            entry.figures[f"{place}/confusion".lstrip("/")] = figure

    def probes(self, codes: Tensor, y: Tensor) -> tuple[list[str], list[LinearProbe], str]:
        """Settings in words, the probe of each, and how they were trained."""
        probes = linear_probes(codes, y, self.cs)
        return [f"C = {c:g}" for c in self.cs], probes, HOW[probes[0].kind]


def _place(layer: str = "", floor: str = "") -> str:
    """The beginning of the keys of a layer's or a floor's figures and tables."""
    return f"floor/{floor}" if floor else "" if layer == "mean" else layer


class SGDProbeEvaluation(LinearProbeEvaluation):
    """The same of classes with probes trained by SGD, as in self-supervised papers; 'valid' chooses the learning rate.

    Args:
        lrs: initial learning rates.
        n_epochs: passes over the training rows; the rate falls to 0 along a half cosine.
        batch_size: rows per step.
        momentum: momentum of SGD.
        evaluate_on, layers, floors, n_train_samples, n_samples: see `LinearProbeEvaluation`.
    """

    kinds = ("classes",)

    def __init__(
        self,
        evaluate_on: str = "test",
        lrs: Sequence[float] = LRS,
        n_epochs: int = 100,
        batch_size: int = 256,
        momentum: float = 0.9,
        layers: Sequence[str] = ("mean", "features"),
        floors: Sequence[Floor] = FLOORS,
        n_train_samples: int | None = 50_000,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(evaluate_on, CS, layers, floors, n_train_samples, n_samples)
        at_least(1, n_epochs=n_epochs, batch_size=batch_size)
        if not lrs or not min(lrs) > 0 or not 0 <= momentum < 1:
            raise UserError(f"lrs={list(lrs)}, momentum={momentum}: rates are positive, the momentum lies in [0, 1)")
        self.lrs, self.n_epochs, self.batch_size, self.momentum = tuple(lrs), n_epochs, batch_size, momentum

    def probes(self, codes: Tensor, y: Tensor) -> tuple[list[str], list[LinearProbe], str]:
        found = sgd_probes(codes, y, self.lrs, self.n_epochs, self.batch_size, self.momentum)
        how = f"SGD, {self.n_epochs} epochs, batch {self.batch_size}, momentum {self.momentum:g}, cosine"
        return [f"lr = {lr:g}" for lr in self.lrs], found, how
