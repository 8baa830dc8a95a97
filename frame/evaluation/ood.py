"""Whether a model's scores tell pictures of other data from those of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from frame.common.errors import UserError, at_least, choices
from frame.data.base import Batch, DataSet
from frame.evaluation.base import (
    BoundsLikelihood,
    Declaration,
    Encodes,
    Evaluation,
    LogEntry,
    Predicts,
    Scalar,
    Unsuited,
)
from frame.evaluation.changed import fitted
from frame.evaluation.codes import codes_of
from frame.measures.geometry import finite
from frame.measures.neighbours import check_codes
from frame.measures.ood import auroc, fpr_at_tpr, knn_scores

# by the word in `scores`: the capability that it needs, and its name in records
SCORES = {
    "max_softmax": (Predicts, "log-probability of the most probable class"),  # Hendrycks, Gimpel 2017 (1610.02136)
    "elbo": (BoundsLikelihood, "ELBO"),
    "knn": (Encodes, "minus the distance to a near training code"),
}


class OODEvaluation(Evaluation):
    """AUROC in % of scores that should be higher on the run's own pictures than on others.

    '<other>/<score>' is the AUROC, 50 at chance; '<other>/<score>/fpr95' is the share in % of the others above the
    threshold that 95 % of the run's own pictures exceed. Each score needs a capability: 'max_softmax' needs predict;
    'elbo' may be higher on other data (Nalisnick et al. 2019, 1810.09136); 'knn' is minus the distance of the mean code
    to training codes.

    Args:
        others: data sets by name, or modules (x, generator) that change the run's own pictures. Pictures of another
            size are resized, and drawn as 0 or 1 if the run's are binary.
        evaluate_on: split of the run's data and of the others.
        scores: any of 'max_softmax', 'elbo' and 'knn'; those that the model does not have are left out.
        n_neighbours: 'knn' is the distance to the neighbour of this rank.
        n_bank: training codes to search for neighbours; all of them if None.
        n_samples: pictures of each data set; all of them if None or if there are fewer.

    Raises:
        UserError: a number is out of range, or a score is unknown; from `check`, the model has none of them, or cannot
            take the rows of another data set.
        NoNumber: from `evaluate`, scores that are NaN or all equal.
    """

    def __init__(
        self,
        others: Mapping[str, Any],
        evaluate_on: str = "test",
        scores: Sequence[str] = tuple(SCORES),
        n_neighbours: int = 50,
        n_bank: int | None = 10_000,
        n_samples: int | None = 2000,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_neighbours=n_neighbours, n_bank=n_bank, n_samples=n_samples)
        for word in scores:
            if word not in SCORES:
                raise UserError(choices(word, SCORES, kind="score"))
        if not others:
            raise UserError("others={}: name one data set or more that the model does not know")
        self.others, self.scores = dict(others), tuple(scores)
        self.n_neighbours, self.n_bank, self.n_samples = n_neighbours, n_bank, n_samples

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        name = type(model).__name__
        if not self._scores(model):
            methods = "predict, log_likelihood_bound or encode"
            raise Unsuited(
                f"OODEvaluation needs a model that has {methods}; {name} has no score of {list(self.scores)}",
                capabilities=[(SCORES[word][0],) for word in self.scores],
            )
        if tuple(getattr(model, "inputs", ("x",))) != ("x",):
            raise Unsuited(f"OODEvaluation gives a model x alone; {name} takes {', '.join(model.inputs)}")  # type: ignore[arg-type]
        for other in self.others.values():
            fitted(other, data, self.evaluate_on)

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        keys = [f"{name}/{word}" for name in self.others for word in self._scores(model)]
        return Declaration(self.evaluate_on, dict.fromkeys([*keys, *(f"{key}/fpr95" for key in keys)], "%"))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry = LogEntry(self.evaluate_on)
        for word in self._scores(model):
            bank = codes_of(model, data, "train", "mean", self.n_bank).codes if word == "knn" else None
            if bank is not None:
                check_codes(finite(bank))
            inside = self._score(word, model, data, bank)
            what = SCORES[word][1] + (f", the {min(self.n_neighbours, len(bank))}th" if bank is not None else "")
            for name, other in self.others.items():
                outside = self._score(word, model, fitted(other, data, self.evaluate_on), bank)
                of = f"of {what}, {len(inside)} of {self.evaluate_on} against {len(outside)} of {name}"
                layer, n = "mean" if word == "knn" else "", len(inside) + len(outside)
                area, error = auroc(inside, outside)
                entry.scalars[f"{name}/{word}"] = Scalar(100 * area, "%", n, f"AUROC {of}", 100 * error, layer)
                rate, error = fpr_at_tpr(inside, outside)
                estimator = f"false positives at 95 % true ones {of}"
                entry.scalars[f"{name}/{word}/fpr95"] = Scalar(
                    100 * rate, "%", n, estimator, 100 * error, layer, better="less"
                )
        return entry

    def _scores(self, model: nn.Module) -> list[str]:
        return [word for word in self.scores if isinstance(model, SCORES[word][0])]

    def _score(self, word: str, model: nn.Module, data: DataSet, bank: Tensor | None) -> Tensor:
        """Scores [N], higher for pictures like those of training."""
        if bank is not None:
            codes = codes_of(model, data, self.evaluate_on, "mean", self.n_samples).codes
            return knn_scores(bank, codes, self.n_neighbours)
        asked: Any = model

        def of(batch: Batch) -> dict[str, Tensor]:
            x = batch["x"]
            return {"": asked.predict(x).amax(1) if word == "max_softmax" else asked.log_likelihood_bound(x)["elbo"]}

        return self.over_rows(model, data, self.n_samples, of)[""]
