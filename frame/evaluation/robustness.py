"""How accuracy falls as pictures are disturbed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from frame.common.errors import UserError, at_least, choices
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Predicts, Scalar, Unsuited
from frame.evaluation.changed import Changed
from frame.evaluation.codes import LAYERS, labelled_codes
from frame.evaluation.colours import LINES, look
from frame.evaluation.floors import FLOORS, Floor, Rows, check_floors, floor_codes, floor_names
from frame.evaluation.linear_probe import CHOOSE_ON, TRAIN_ON
from frame.evaluation.predictions import predictions
from frame.measures.linear_probe import CS, best, logistic_regression
from frame.measures.statistics import fraction, mean_and_standard_error


class RobustnessEvaluation(Evaluation):
    """Accuracy in % on disturbed pictures, of `predict`, or of a linear probe on codes if the model has no `predict`.

    '' is the mean over all perturbations and strengths, '<perturbation>' the mean over the strengths of one,
    '<perturbation>/<strength>' the accuracy at one strength, and 'clean' the accuracy on undisturbed pictures. The
    probe is trained on clean pictures of 'train', and clean pictures of 'valid' choose C. A figure and a table show
    each strength. A probe has floors, 'floor/<name>', on the same disturbed pictures.

    Args:
        perturbations: by name, a mapping of 'change', which makes a module (x, generator) from a strength, 'strengths'
            in increasing order, and their 'unit'.
        evaluate_on: split.
        layer: the layer to probe.
        cs: inverse strengths of the probe's regularisation.
        floors: floors of the probe; see `frame.evaluation.floors`.
        n_train_samples: rows on which the probe is trained; all of them if None or if there are fewer.
        n_samples: pictures of the split; all of them if None or if there are fewer.

    Raises:
        UserError: a number is out of range, or a perturbation is incomplete; from `check`, the model has neither, or a
            split has no labels.
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
        floors: Sequence[Floor] = FLOORS,
        n_train_samples: int | None = 10_000,
        n_samples: int | None = 2000,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_train_samples=n_train_samples, n_samples=n_samples)
        if layer not in LAYERS:
            raise UserError(choices(layer, LAYERS, kind="layer"))
        if not perturbations:
            raise UserError("perturbations={}: name one or more")
        for name, parts in perturbations.items():
            missing = {"change", "strengths"} - set(parts)
            if missing or not callable(parts["change"]) or not parts["strengths"]:
                raise UserError(
                    f"perturbation {name}: give a change (_target_, _partial_: true) and a list of strengths"
                )
        self.perturbations = {name: dict(parts) for name, parts in perturbations.items()}
        self.layer, self.cs, self.floors = layer, tuple(cs), check_floors(floors)
        self.n_train_samples, self.n_samples = n_train_samples, n_samples
        self._floors: tuple[DataSet, dict[str, tuple[list[Tensor], str]]] | None = None  # with the data of the floors

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        if isinstance(model, Predicts):
            return
        if not isinstance(model, LAYERS[self.layer][0]):
            method = "features" if self.layer == "features" else "encode"
            raise Unsuited(
                f"RobustnessEvaluation needs a model that has predict or {method}(); {type(model).__name__} has none",
                capabilities=[(Predicts,), (LAYERS[self.layer][0],)],
            )
        for split in (TRAIN_ON, CHOOSE_ON):
            if "y" not in data.split(split).batch(torch.arange(1)):
                raise Unsuited(f"RobustnessEvaluation needs 'y' in the data; '{split}' has none", key="y")

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        each = ["", "clean", *self.perturbations]
        each += [f"{name}/{s:g}" for name, parts in self.perturbations.items() for s in parts["strengths"]]
        floors = [] if isinstance(model, Predicts) else floor_names(self.floors, [self.layer])
        probed = ["", *(f"floor/{name}" for name in floors)]
        numbers = {f"{of}/{key}".strip("/"): "%" for of in probed for key in each}
        return Declaration(self.evaluate_on, numbers, ("",), ("strengths",))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        changed = [
            Changed(data, parts["change"](strength))
            for parts in self.perturbations.values()
            for strength in parts["strengths"]
        ]
        entry = LogEntry(self.evaluate_on)
        found: dict[str, list[Tensor]] = {}  # whether each picture is classified correctly, clean and at each strength
        if isinstance(model, Predicts):
            classified = [predictions(model, one, self.evaluate_on, self.n_samples) for one in (data, *changed)]
            found["predict"] = [log_p.argmax(1) == y for log_p, y in classified]
            self._add(entry, "", found["predict"], "most probable class of predict()", "")
        else:

            def rows(model: nn.Module, layer: str) -> tuple[Rows, ...]:
                learned = labelled_codes(model, data, TRAIN_ON, layer, self.n_train_samples)
                chosen = labelled_codes(model, data, CHOOSE_ON, layer)
                judged = (
                    labelled_codes(model, one, self.evaluate_on, layer, self.n_samples) for one in (data, *changed)
                )
                return learned, chosen, *judged

            own = rows(model, self.layer)
            found["codes"], how = self._probed(own)
            self._add(entry, "", found["codes"], how, self.layer)
            if self._floors is None or self._floors[0] is not data:
                size = own[0][0].shape[1]
                floors = floor_codes(self.floors, model, data, self.evaluate_on, [self.layer], size, rows)
                self._floors = data, {name: self._probed(theirs) for name, theirs in floors}
            for name, (rights, how) in self._floors[1].items():
                found[name] = rights
                self._add(entry, f"floor/{name}", rights, how, "")
        strengths = [(name, s) for name, parts in self.perturbations.items() for s in parts["strengths"]]
        columns = [[100 * fraction(right)[0] for right in rights[1:]] for rights in found.values()]
        entry.tables["strengths"] = (
            ["perturbation", "strength", *(f"accuracy of {name} (%)" for name in found)],
            [[*strength, *(column[i] for column in columns)] for i, strength in enumerate(strengths)],
        )
        entry.figures[""] = self._figure(found)
        return entry

    def _add(self, entry: LogEntry, key: str, rights: Sequence[Tensor], how: str, layer: str) -> None:
        """Scalars of one classifier. `rights` are [N] each: first clean, then at each strength of each perturbation."""
        clean, n = rights[0], len(rights[0])
        curves = self._curves(rights)
        groups = [("", rights[1:], f"mean over {len(rights) - 1} strengths of {', '.join(curves)}")]
        groups += [(name, curve, f"mean over {len(curve)} strengths of {name}") for name, curve in curves.items()]
        for name, some, of in [*groups, ("clean", [clean], "undisturbed")]:
            # pictures are independent of one another, but the versions of one picture are not
            mean, error = mean_and_standard_error(torch.stack(list(some)).double().mean(0))
            entry.scalars[f"{key}/{name}".strip("/")] = Scalar(100 * mean, "%", n, f"{how}, {of}", 100 * error, layer)
        for name, parts in self.perturbations.items():
            for strength, right in zip(parts["strengths"], curves[name], strict=True):
                p, error = fraction(right)
                of = f"{name} of strength {strength:g} {parts.get('unit', '')}".rstrip()
                entry.scalars[f"{key}/{name}/{strength:g}".strip("/")] = Scalar(
                    100 * p, "%", n, f"{how}, {of}", 100 * error, layer
                )

    def _curves(self, rights: Sequence[Tensor]) -> dict[str, Sequence[Tensor]]:
        """The results of each perturbation."""
        curves, at = {}, 1
        for name, parts in self.perturbations.items():
            curves[name] = rights[at : at + len(parts["strengths"])]
            at += len(parts["strengths"])
        return curves

    def _probed(self, rows: tuple[Rows, ...]) -> tuple[list[Tensor], str]:
        """Whether a probe, trained and chosen on the first two, is right on each row of the others; its description."""
        train, valid, *judged = rows
        probes = logistic_regression(*train, self.cs)
        chosen, _ = best(probes, *valid)
        touched = "" if self.evaluate_on == CHOOSE_ON else f", {self.evaluate_on} touched by that one alone"
        how = f"logistic regression, one of {len(self.cs)} [C = {self.cs[chosen]:g}]"
        return (
            [probes[chosen].right(*one) for one in judged],
            f"{how}, {len(train[0])} clean codes of {TRAIN_ON}, chosen on {CHOOSE_ON}{touched}",
        )

    def _figure(self, found: Mapping[str, Sequence[Tensor]]) -> Figure:
        """A panel for each perturbation: accuracy against strength, two standard errors up and down."""
        n = len(self.perturbations)
        figure = Figure(figsize=(3.1 * n + 0.5, 3.7 if len(found) > 1 else 3.4), dpi=120, layout="constrained")
        then = "\n" if n == 1 else "; "  # one panel is narrower than a line
        title = f"Accuracy on disturbed pictures, {self.evaluate_on}{then}bars are two standard errors"
        figure.suptitle(title, fontsize=11)
        panels = figure.subplots(1, n, squeeze=False, sharey=True)[0]
        for axes, (name, parts) in zip(panels, self.perturbations.items(), strict=True):
            strengths = [0.0, *map(float, parts["strengths"])]
            for i, (of, rights) in enumerate(found.items()):
                colour, marker = look(i)
                shown = torch.tensor([fraction(right) for right in (rights[0], *self._curves(rights)[name])]) * 100
                axes.errorbar(
                    strengths,
                    shown[:, 0].tolist(),
                    2 * shown[:, 1],
                    fmt=marker + LINES[i % len(LINES)],
                    color=colour,
                    capsize=3,
                    markersize=5,
                    label=of,
                )
            axes.set(xlabel=f"{name} ({unit})" if (unit := parts.get("unit")) else name)
            axes.set_ylim(0, 102)
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("accuracy (%)")
        if len(found) > 1:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=min(len(found), 2 * n), frameon=False)
        return figure
