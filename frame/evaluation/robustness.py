"""How accuracy falls as pictures are disturbed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from frame.data.base import DataSet
from frame.evaluation.base import Evaluation, LogEntry, Predicts, Scalar
from frame.evaluation.changed import Changed
from frame.evaluation.codes import LAYERS, codes_of
from frame.evaluation.linear_probe import CHOOSE_ON, TRAIN_ON
from frame.evaluation.pictures import COLOURS
from frame.evaluation.predictions import predictions
from frame.measures.linear_probe import CS, best, logistic_regression
from frame.measures.statistics import fraction, mean_and_standard_error
from frame.mistakes import Mistake, at_least, choices

Classified = Callable[[DataSet], Tensor]  # whether each row of the split is right, [N]


class RobustnessEvaluation(Evaluation):
    """Accuracy in % on disturbed pictures, of `predict`, or of a linear probe on codes where the model has none.

    '' is the mean over all perturbations and strengths, '<perturbation>' over the strengths of one,
    '<perturbation>/<strength>' a single one, and 'clean' the accuracy without. The probe learns from clean pictures of
    'train', and clean ones of 'valid' choose C. A figure and a table have each strength.

    Args:
        perturbations: by name, a 'change' that makes a module (x, generator) of a strength, 'strengths' in growing
            order, and the 'unit' of these.
        evaluate_on: split.
        layer: of the codes that are probed.
        cs: inverse strengths of the probe's regularisation.
        n_train_samples: rows from which the probe learns; all of them if None or more than there are.
        n_samples: pictures of the split; all of them if None or more than there are.

    Raises:
        Mistake: a number is out of range, or a perturbation that lacks a part; from `check`, the model has neither, or
            a split has no labels.
        NoNumber: from `evaluate`, codes that are not finite or all equal, one class, or too few rows.
    """

    needs_data = ("x", "y")
    hidden = ("y",)

    def __init__(
        self,
        perturbations: Mapping[str, Mapping[str, Any]],
        evaluate_on: str = "test",
        layer: str = "mean",
        cs: Sequence[float] = CS,
        n_train_samples: int | None = 10_000,
        n_samples: int | None = 2000,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_train_samples=n_train_samples, n_samples=n_samples)
        if layer not in LAYERS:
            raise Mistake(choices(layer, LAYERS, kind="layer"))
        if not perturbations:
            raise Mistake("perturbations={}: name one or more")
        for name, parts in perturbations.items():
            missing = {"change", "strengths"} - set(parts)
            if missing or not callable(parts["change"]) or not parts["strengths"]:
                raise Mistake(f"perturbation {name}: give a change (_target_, _partial_: true) and a list of strengths")
        self.perturbations = {name: dict(parts) for name, parts in perturbations.items()}
        self.layer, self.cs = layer, tuple(cs)
        self.n_train_samples, self.n_samples = n_train_samples, n_samples

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        if isinstance(model, Predicts):
            return
        if not isinstance(model, LAYERS[self.layer][0]):
            method = "features" if self.layer == "features" else "encode"
            raise Mistake(
                f"RobustnessEvaluation needs a model that has predict or {method}(); {type(model).__name__} has none"
            )
        for split in (TRAIN_ON, CHOOSE_ON):
            if "y" not in data.split(split).batch(torch.arange(1)):
                raise Mistake(f"RobustnessEvaluation needs 'y' in the data; '{split}' has none")

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        classified, how = self._classifier(model, data)
        layer = "" if isinstance(model, Predicts) else self.layer
        clean = classified(data)
        entry, n, rows = LogEntry(self.evaluate_on), len(clean), []
        curves: dict[str, list[Tensor]] = {}
        for name, parts in self.perturbations.items():
            changed = [Changed(data, parts["change"](strength)) for strength in parts["strengths"]]
            curves[name] = [classified(one) for one in changed]
            rows += [[name, s, 100 * fraction(r)[0]] for s, r in zip(parts["strengths"], curves[name], strict=True)]
        every = [right for curve in curves.values() for right in curve]
        for key, rights, of in (
            ("", every, f"mean over {len(every)} strengths of {', '.join(curves)}"),
            *((name, curve, f"mean over {len(curve)} strengths of {name}") for name, curve in curves.items()),
            ("clean", [clean], "undisturbed"),
        ):
            # pictures are independent of one another, a picture's versions are not
            mean, error = mean_and_standard_error(torch.stack(rights).double().mean(0))
            entry.scalars[key] = Scalar(100 * mean, "%", n, f"{how}, {of}", 100 * error, layer)
        for name, parts in self.perturbations.items():
            for strength, right in zip(parts["strengths"], curves[name], strict=True):
                p, error = fraction(right)
                of = f"{name} of strength {strength:g} {parts.get('unit', '')}".rstrip()
                entry.scalars[f"{name}/{strength:g}"] = Scalar(100 * p, "%", n, f"{how}, {of}", 100 * error, layer)
        entry.tables["strengths"] = (["perturbation", "strength", "accuracy (%)"], rows)
        entry.figures[""] = self._figure(clean, curves)
        return entry

    def _classifier(self, model: nn.Module, data: DataSet) -> tuple[Classified, str]:
        """What says of each picture of a data set whether it is classified right, and what that is in words."""
        if isinstance(model, Predicts):

            def predicted(changed: DataSet) -> Tensor:
                log_p, y = predictions(model, changed, self.evaluate_on, self.n_samples)
                return log_p.argmax(1) == y

            return predicted, "most probable class of predict()"
        train, valid = self._rows(model, data, TRAIN_ON, self.n_train_samples), self._rows(model, data, CHOOSE_ON, None)
        probes = logistic_regression(*train, self.cs)
        chosen, _ = best(probes, *valid)

        def probed(changed: DataSet) -> Tensor:
            return probes[chosen].right(*self._rows(model, changed, self.evaluate_on, self.n_samples))

        touched = "" if self.evaluate_on == CHOOSE_ON else f", {self.evaluate_on} touched by that one alone"
        how = f"logistic regression, one of {len(self.cs)} [C = {self.cs[chosen]:g}]"
        return probed, f"{how}, {len(train[0])} clean codes of {TRAIN_ON}, chosen on {CHOOSE_ON}{touched}"

    def _rows(self, model: nn.Module, data: DataSet, split: str, n_samples: int | None) -> tuple[Tensor, Tensor]:
        found = codes_of(model, data, split, self.layer, n_samples)
        assert found.y is not None
        return found.codes, found.y

    def _figure(self, clean: Tensor, curves: Mapping[str, Sequence[Tensor]]) -> Figure:
        """A panel for each perturbation: accuracy against strength, two standard errors up and down."""
        figure = Figure(figsize=(3.1 * len(curves) + 0.5, 3.4), dpi=120, layout="constrained")
        figure.suptitle(
            f"Accuracy on disturbed pictures, {self.evaluate_on}; bars are two standard errors", fontsize=11
        )
        panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
        for axes, (name, curve) in zip(panels, curves.items(), strict=True):
            strengths = [0.0, *map(float, self.perturbations[name]["strengths"])]
            found = torch.tensor([fraction(right) for right in (clean, *curve)]) * 100
            axes.errorbar(
                strengths, found[:, 0].tolist(), 2 * found[:, 1], fmt="o-", color=COLOURS[0], capsize=3, markersize=5
            )
            axes.set(xlabel=f"{name} ({unit})" if (unit := self.perturbations[name].get("unit")) else name)
            axes.set_ylim(0, 102)
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("accuracy (%)")
        return figure
