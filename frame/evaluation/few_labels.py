"""How well a linear classifier does on codes, where few rows have labels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar, given
from frame.measures.probes import few_label_probe
from frame.measures.statistics import mean_and_standard_error
from frame.mistakes import Mistake, at_least


class FewLabelsEvaluation(Evaluation):
    """Accuracy in % of `few_label_probe` on the means of encode(x), one number for each number of labels.

    The labelled rows are drawn from `train_on`; the mean is over the draws, and so is its standard error.

    Args:
        evaluate_on: split on which accuracy is measured.
        train_on: split from which the labelled rows are drawn.
        labels_per_class: labelled rows of each class: 1 is 10 labels where there are 10 classes.
        n_draws: of labelled rows.
        n_samples: pictures of `evaluate_on`; all of them if None or more than there are.
        n_train_samples: pictures of `train_on` among which rows are drawn; all of them if None.

    Raises:
        Mistake: a number is below 1; from `check`, a split or its labels are missing.
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
        n_samples: int | None = None,
        n_train_samples: int | None = None,
    ) -> None:
        super().__init__(evaluate_on)
        for n in labels_per_class:
            at_least(1, labels_per_class=n)
        at_least(1, n_draws=n_draws, n_samples=1 if n_samples is None else n_samples)
        at_least(1, n_train_samples=1 if n_train_samples is None else n_train_samples)
        self.train_on, self.labels_per_class, self.n_draws = train_on, tuple(labels_per_class), n_draws
        self.n_samples, self.n_train_samples = n_samples, n_train_samples

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        if "y" not in data.split(self.train_on).batch(torch.arange(1)):
            raise Mistake(f"FewLabelsEvaluation needs 'y' in the data; '{self.train_on}' has none")

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        x, y = self._codes(model, data, self.train_on, self.n_train_samples)
        x_test, y_test = self._codes(model, data, self.evaluate_on, self.n_samples)
        entry = LogEntry(self.evaluate_on)
        for n in self.labels_per_class:
            accuracies = few_label_probe(x, y, x_test, y_test, n, self.n_draws)
            mean, standard_error = mean_and_standard_error(100 * accuracies)
            entry.scalars[f"{n}_per_class"] = Scalar(
                mean,
                "%",
                len(y_test),
                f"logistic regression on means of encode(x), {n} labels per class of {self.train_on}, "
                f"mean of {self.n_draws} draws",
                standard_error,
            )
        return entry

    def _codes(self, model: nn.Module, data: DataSet, split: str, n_samples: int | None) -> tuple[Tensor, Tensor]:
        assert isinstance(model, Encodes)
        batches = self.batches(model, data, n_samples, split=split)
        pairs = [(model.encode(*given(model, batch)).mean.flatten(1), batch["y"]) for batch in batches]
        return torch.cat([code for code, _ in pairs]), torch.cat([y for _, y in pairs])
