"""How many latents depend on the picture."""

from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import codes_of
from frame.measures.likelihood import active_units


class ActiveUnitsEvaluation(Evaluation):
    """Latents whose posterior mean varies over pictures: Var_x(E_q(z|x)[z]) > 0.01, Burda et al. 2015 (1509.00519).

    Early in training most latents are active for a while, so the number means little before about 50 epochs.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (Encodes,)
    numbers = {"": "latents"}

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        means = codes_of(model, data, self.evaluate_on, "mean", self.n_samples).codes
        active = active_units(means)
        estimator = f"of {len(active)} latents, those with Var_x(E_q[z]) > 0.01"
        count = Scalar(int(active.sum()), "latents", len(means), estimator, layer="mean")
        return LogEntry(self.evaluate_on, scalars={"": count})
