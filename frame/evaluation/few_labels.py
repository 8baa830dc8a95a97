"""How well a linear classifier does on codes if few rows have labels."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Encodes, Evaluation, LogEntry, Scalar, Unsuited
from frame.evaluation.codes import check_layers, labelled_codes, layers_of, named, require_layers
from frame.evaluation.floors import FLOORS, Floor, Rows, check_floors, floor_codes, floor_names
from frame.measures.probes import few_label_probe
from frame.measures.statistics import mean_and_standard_error, t_interval


class FewLabelsEvaluation(Evaluation):
    """Accuracy in % of `few_label_probe` on the means of encode(x): '1_per_class', '10_per_class' ...

    For another layer the names begin with it: 'features/1_per_class'.

    The labelled rows are drawn from `train_on`. Each number is a mean over draws, with its standard error and a t
    interval. Each has floors: '<number>/floor/pixels' is the same on the pictures themselves, '/floor/pca' on as many
    principal components as the first layer has dimensions, '/floor/whitened' on 50 components of variance 1, and
    '/floor/untrained' on the same layer of an untrained copy of the model. Floors are measured once.

    Args:
        evaluate_on: split on which accuracy is measured.
        train_on: split from which the labelled rows are drawn.
        labels_per_class: labelled rows of each class; with 10 classes, 1 means 10 labels.
        n_draws: random draws of the labelled rows.
        floors: any of 'pixels', 'pca', 'whitened' and 'untrained'.
        layers: 'mean' and 'features'; those that the model does not have are left out.
        n_samples: pictures of `evaluate_on`; all of them if None or if there are fewer.
        n_train_samples: pictures of `train_on` among which rows are drawn; all of them if None.

    Raises:
        UserError: a number is below 1, or a floor or a layer is unknown; from `check`, a split, its labels or all
            layers are missing.
        NoNumber: from `evaluate`, codes that are not finite or all equal, one class, or fewer rows than asked for.
    """

    needs = (Encodes,)
    needs_data = ("x", "y")
    hidden = ("y",)

    def __init__(
        self,
        evaluate_on: str = "test",
        train_on: str = "train",
        labels_per_class: Sequence[int] = (1,),
        n_draws: int = 20,
        floors: Sequence[Floor] = FLOORS,
        n_samples: int | None = None,
        n_train_samples: int | None = None,
        layers: Sequence[str] = ("mean",),
    ) -> None:
        super().__init__(evaluate_on)
        for n in labels_per_class:
            at_least(1, labels_per_class=n)
        at_least(1, n_draws=n_draws, n_samples=n_samples)
        at_least(1, n_train_samples=n_train_samples)
        self.layers = check_layers(layers)
        self.train_on, self.labels_per_class, self.n_draws = train_on, tuple(labels_per_class), n_draws
        self.fits_on = (train_on,)
        self.floors, self.n_samples, self.n_train_samples = check_floors(floors), n_samples, n_train_samples
        self._floors: tuple[DataSet, dict[str, Scalar]] | None = None  # with the data that they were measured on

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        require_layers(self, model, self.layers)
        if "y" not in data.split(self.train_on).batch(torch.arange(1)):
            raise Unsuited(f"FewLabelsEvaluation needs 'y' in the data; '{self.train_on}' has none", key="y")

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        layers = layers_of(model, self.layers)
        suffixes = [f"/floor/{name}" for name in floor_names(self.floors, layers)]
        names = [named(layer, f"{n}_per_class") for n in self.labels_per_class for layer in layers]
        names += [f"{n}_per_class{suffix}" for n in self.labels_per_class for suffix in suffixes]
        return Declaration(self.evaluate_on, dict.fromkeys(names, "%"))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry, sizes = LogEntry(self.evaluate_on), []
        for layer in layers_of(model, self.layers):
            train, rows = self._rows(data, model, layer)
            sizes.append(train[0].shape[1])
            entry.scalars |= {named(layer, key): one for key, one in self._measured(train, rows, layer=layer)}
        if self._floors is None or self._floors[0] is not data:
            self._floors = data, dict(self._measured_floors(model, data, sizes[0]))
        entry.scalars |= self._floors[1]
        return entry

    def _rows(self, data: DataSet, model: nn.Module, layer: str = "mean") -> tuple[Rows, Rows]:
        """Codes and classes of the rows that may be labelled, and of the rows to classify."""
        train = labelled_codes(model, data, self.train_on, layer, self.n_train_samples)
        return train, labelled_codes(model, data, self.evaluate_on, layer, self.n_samples)

    def _measured(self, train: Rows, rows: Rows, suffix: str = "", layer: str = "") -> Iterator[tuple[str, Scalar]]:
        for n in self.labels_per_class:
            found = 100 * few_label_probe(*train, *rows, n, self.n_draws)
            mean, standard_error = mean_and_standard_error(found)
            estimator = f"logistic regression, {n} labels per class of {self.train_on}, mean of {self.n_draws} draws"
            estimator += f" [nothing is chosen: {self.evaluate_on} touched once a draw]"
            interval, size = t_interval(found) if self.n_draws > 1 else None, train[0].shape[1]
            number = Scalar(mean, "%", len(rows[0]), estimator, standard_error, layer, interval, width=size)
            yield f"{n}_per_class{suffix}", number

    def _measured_floors(self, model: nn.Module, data: DataSet, size: int) -> Iterator[tuple[str, Scalar]]:
        of = partial(self._rows, data)
        layers = layers_of(model, self.layers)
        for name, (train, rows) in floor_codes(self.floors, model, data, self.evaluate_on, layers, size, of):
            yield from self._measured(train, rows, f"/floor/{name}")
