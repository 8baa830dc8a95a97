"""Whether a classifier's confidence agrees with its accuracy."""

from dataclasses import replace

import torch
from matplotlib.figure import Figure
from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Predicts, Scalar, Unsuited
from frame.evaluation.colours import COLOURS
from frame.evaluation.predictions import predictions
from frame.measures.calibration import (
    LIMITS,
    Reliability,
    at_temperature,
    brier_scores,
    fitted_temperature,
    negative_log_likelihoods,
    reliability,
)
from frame.measures.statistics import mean_and_standard_error


class CalibrationEvaluation(Evaluation):
    """Expected calibration error of `predict` in %, before and after temperature scaling.

    '' uses bins of equal width, 'equal_mass' bins with equally many rows; 'nll' is -log p(y) in nats, 'brier' the Brier
    score (0 to 2). 'temperature' is fitted on `fit_on`; 'scaled', 'scaled/nll' and 'scaled/brier' are the numbers after
    scaling. The figure shows accuracy against confidence, before and after.

    Args:
        evaluate_on: split that is reported.
        fit_on: split on which the temperature is fitted.
        n_bins: bins of the confidence.
        n_samples: rows of the split; all of them if None or if there are fewer.

    Raises:
        UserError: a number is out of range; from `check`, a split has no labels.
        NoNumber: from `evaluate`, NaN, or fewer rows than bins.
    """

    needs = (Predicts,)
    needs_data = ("x", "y")
    hidden = ("y",)
    pictures = ("",)

    def __init__(
        self, evaluate_on: str = "test", fit_on: str = "valid", n_bins: int = 15, n_samples: int | None = None
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_bins=n_bins, n_samples=n_samples)
        self.fit_on, self.n_bins, self.n_samples = fit_on, n_bins, n_samples
        self.fits_on = (fit_on,)

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        if "y" not in data.split(self.fit_on).batch(torch.arange(1)):
            raise Unsuited(f"CalibrationEvaluation needs 'y' in the data; '{self.fit_on}' has none", key="y")

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        each = {"": "%", "equal_mass": "%", "nll": f"nats per {data.row}", "brier": ""}
        scaled = {f"scaled/{key}".rstrip("/"): unit for key, unit in each.items()}
        return Declaration(self.evaluate_on, {"temperature": "", **each, **scaled}, self.pictures)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        temperature = fitted_temperature(*predictions(model, data, self.fit_on, None))
        log_p, y = predictions(model, data, self.evaluate_on, self.n_samples)
        n, entry = len(y), LogEntry(self.evaluate_on)
        touched = "the split that is judged: optimistic" if self.fit_on == self.evaluate_on else self.fit_on
        edge = "" if LIMITS[0] * 1.01 < temperature < LIMITS[1] / 1.01 else ", at its limit"
        how = f"least -log p(y) on {touched}{edge}"
        entry.scalars["temperature"] = Scalar(temperature, "", n, how, better="")
        bins = []
        for key, p, after in (
            ("", log_p, ""),
            ("scaled", at_temperature(log_p, temperature), f", at a temperature of {touched} [{temperature:.3g}]"),
        ):
            wide, even = reliability(p, y, self.n_bins), reliability(p, y, self.n_bins, equal_mass=True)
            bins.append(wide)
            name = f"expected calibration error of {self.n_bins}"
            mass = Scalar(100 * even.error, "%", n, f"{name} bins of equally many rows{after}")
            nll, nll_error = mean_and_standard_error(negative_log_likelihoods(p, y))
            brier, brier_error = mean_and_standard_error(brier_scores(p, y))
            parts = {
                "": Scalar(100 * wide.error, "%", n, f"{name} bins of equal width{after}"),
                "equal_mass": mass,
                "nll": Scalar(nll, f"nats per {data.row}", n, f"-log of predict() at the label{after}", nll_error),
                "brier": Scalar(brier, "", n, f"squared error of all classes' probabilities{after}", brier_error),
            }
            entry.scalars |= {
                f"{key}/{part}".strip("/"): replace(scalar, better="less") for part, scalar in parts.items()
            }
        titles = (
            f"as predicted: {100 * bins[0].error:.2f} %",
            f"temperature {temperature:.3g}: {100 * bins[1].error:.2f} %",
        )
        entry.figures[""] = reliability_figure(dict(zip(titles, bins, strict=True)), self.evaluate_on)
        return entry


def reliability_figure(found: dict[str, Reliability], split: str) -> Figure:
    """Accuracy against confidence, and below it the number of rows at each confidence; one column for each entry.

    Args:
        found: by column titles, which name the error.
        split: the split that was measured.
    """
    figure = Figure(figsize=(4.2 * len(found) + 0.4, 5.5), dpi=120, layout="constrained")
    figure.suptitle(f"Expected calibration error on {split}", fontsize=11)
    above, below = figure.subplots(2, len(found), squeeze=False, sharex=True, height_ratios=[3, 1])
    for column, (title, bins) in enumerate(found.items()):
        axes, counts = above[column], below[column]
        width = (bins.high - bins.low).numpy()
        place = dict(width=width, align="edge", edgecolor="black", linewidth=0.6)
        axes.bar(bins.low.numpy(), bins.accuracy.numpy(), color=COLOURS[0], label="accuracy", **place)
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="calibrated")
        axes.plot(
            bins.confidence.numpy(),
            bins.accuracy.numpy(),
            "o",
            color="white",
            markeredgecolor="black",
            markersize=5,
            label="mean of the bin",
        )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), title=title)
        axes.title.set_fontsize(10)
        counts.bar(bins.low.numpy(), (100 * bins.n / bins.n.sum()).numpy(), color="0.6", **place)
        counts.set_xlabel("confidence: probability of the predicted class")
        counts.set_ylim(0, 100)
    above[0].set_ylabel("accuracy")
    below[0].set_ylabel("rows (%)")
    figure.legend(*above[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure
