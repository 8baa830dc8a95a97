"""What a categorical code means, compared with labels that the model never saw."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Evaluation, LogEntry, Scalar, given
from frame.evaluation.pictures import labelled_grid
from frame.measures.clusters import contingency, normalised_mutual_information, purity


@runtime_checkable
class HasCategories(Protocol):
    def categories(self, x: Tensor) -> Tensor:
        """log q(c|x) of a categorical code, [B, n_categories]."""
        ...

    def sample_categories(self, n_samples: int) -> Tensor:
        """Pictures of each category, from the same noise: [n_categories, n_samples, *shape] in [0, 1]."""
        ...


class CategoriesEvaluation(Evaluation):
    """Purity in % of the most probable code against the labels, 'nmi' beside it, and pictures of each code.

    The table counts how often each code (row) has each label (column). The picture has a row for each code, labelled
    with the code and its most frequent label; the noise is the same in each row, so that only the code differs.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.
        n_columns: pictures of each code.

    Raises:
        UserError: a number is below 1.
    """

    needs = (HasCategories,)
    needs_data = ("x", "y")
    numbers = {"": "%", "nmi": ""}
    pictures = ("",)
    draws = True
    tables = ("",)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None, n_columns: int = 12) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples, n_columns=n_columns)
        self.n_samples, self.n_columns = n_samples, n_columns

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, HasCategories)

        def of(batch: Batch) -> dict[str, Tensor]:
            return {"log_q": model.categories(*given(model, batch)), "y": batch["y"]}

        found = self.over_rows(model, data, self.n_samples, of)
        log_q, y = found["log_q"], found["y"]
        n_codes, n_labels = log_q.shape[1], data.n_classes or int(y.max()) + 1
        counts = contingency(log_q.argmax(1), y, n_codes, n_labels)
        labels = [f"code {code}, most {counts[code].argmax()}" for code in range(n_codes)]
        pictures = model.sample_categories(self.n_columns).flatten(0, 1)
        below = f"samples; beside each code the class that it has most often in {self.evaluate_on}"
        estimator = f"most probable of {n_codes} codes"
        return LogEntry(
            self.evaluate_on,
            scalars={
                "": Scalar(100 * purity(counts), "%", len(y), estimator),
                "nmi": Scalar(normalised_mutual_information(counts), "", len(y), estimator),
            },
            figures={"": labelled_grid(pictures, self.n_columns, labels, below=below)},
            tables={
                "": (
                    ["code", *map(str, range(n_labels))],
                    [[code, *row] for code, row in enumerate(counts.tolist())],
                )
            },
        )
