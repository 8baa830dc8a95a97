"""Pictures decoded from codes between two pictures' codes."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from frame.common.errors import TooFew, at_least
from frame.common.output import shortened
from frame.data.base import DataSet, class_names, named_classes
from frame.evaluation.base import Declaration, Decodes, Encodes, Evaluation, LogEntry, given
from frame.evaluation.pictures import MOST_LETTERS, labelled_grid
from frame.measures.geometry import finite
from frame.measures.scores import kind_of


@runtime_checkable
class _EncodesAndDecodes(Encodes, Decodes, Protocol):
    pass


@runtime_checkable
class HasPriorDensity(Protocol):
    def p_z(self) -> Distribution:
        """p(z), batch_shape ()."""
        ...


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes a, b [N, D] and t [T] in [0, 1] -> (1 - t) a + t b, [N, T, D]."""
    t = t.view(1, -1, 1)
    return (1 - t) * a.unsqueeze(1) + t * b.unsqueeze(1)


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes along the arc from a to b, [N, T, D]. Their lengths stay between those of a and b.

    White 2016, "Sampling generative networks" (1609.04468), section 2.1; linear if a and b point the same way.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = cosine.acos().view(-1, 1, 1)
    t_ = t.view(1, -1, 1)
    sine = angle.sin()
    arc = (((1 - t_) * angle).sin() * a.unsqueeze(1) + (t_ * angle).sin() * b.unsqueeze(1)) / sine.clamp_min(1e-6)
    return torch.where(sine > 1e-4, arc, linear(a, b, t))


def is_standard_normal(p_z: Distribution) -> bool:
    """Whether it is N(0, I)."""
    values = p_z.base_dist if isinstance(p_z, Independent) else p_z
    return isinstance(values, Normal) and bool((values.loc == 0).all() and (values.scale == 1).all())


def _on_a_sphere(model: nn.Module) -> bool:
    """Whether samples of the prior lie near a sphere: if it is N(0, I) and the model takes x alone."""
    alone = tuple(getattr(model, "inputs", ("x",))) == ("x",)
    return alone and isinstance(model, HasPriorDensity) and is_standard_normal(model.p_z())


class InterpolationEvaluation(Evaluation):
    """Pairs of pictures, and means of p(x|z) along the straight line between the means of their q(z|x).

    If the prior is N(0, I), 'spherical' is the same along an arc: in many dimensions samples lie near a sphere, and a
    straight line between two of them leaves it. The pictures themselves are at the ends of a row.

    Args:
        evaluate_on: split whose first drawn pictures are the pairs.
        n_pairs: number of pairs, one per row.
        n_steps: codes in a row, including those of the two pictures.

    Raises:
        UserError: a number is out of range.
        TooFew: from `evaluate`, fewer than two pictures for each pair.
        NoNumber: from `evaluate`, codes that are not finite.
    """

    needs = (Encodes, Decodes)
    draws = True

    def __init__(self, evaluate_on: str = "valid", n_pairs: int = 6, n_steps: int = 9) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_pairs=n_pairs)
        at_least(2, n_steps=n_steps)
        self.n_pairs, self.n_steps = n_pairs, n_steps

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        pictures = ("", "spherical") if _on_a_sphere(model) else ("",)
        return Declaration(self.evaluate_on, {}, pictures)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, _EncodesAndDecodes)
        batch = next(self.batches(model, data, 2 * self.n_pairs, 2 * self.n_pairs))
        x, *others = given(model, batch)
        if len(x) < 2 * self.n_pairs:
            raise TooFew(f"{len(x)} pictures are too few for {self.n_pairs} pairs")
        z = model.encode(x, *others).mean
        finite(z.flatten(1))
        t = torch.linspace(0, 1, self.n_steps, device=x.device)
        paths = {"": linear}
        if _on_a_sphere(model):
            paths["spherical"] = spherical
        entry = LogEntry(self.evaluate_on)
        for key, path in paths.items():
            between = path(z[::2].flatten(1), z[1::2].flatten(1), t).flatten(0, 1).unflatten(1, z.shape[1:])
            # inputs of the model other than x are those of the first picture
            first = [value[::2].repeat_interleave(self.n_steps, 0) for value in others]
            pictures = model.decode(between, *first).mean.unflatten(0, (self.n_pairs, self.n_steps))
            rows = torch.cat([x[::2].unsqueeze(1), pictures, x[1::2].unsqueeze(1)], 1).flatten(0, 1)
            steps = [f"{value:.3g}" for value in t.tolist()]
            entry.figures[key] = labelled_grid(
                rows,
                self.n_steps + 2,
                _names(data, batch, self.n_pairs),
                ["picture", *steps, "picture"],
                f"share of the second picture's code, {path.__name__}; means of p(x|z); {self.evaluate_on}",
            )
        return entry


def _names(data: DataSet, batch: dict[str, Tensor], n_pairs: int) -> list[str]:
    if "y" not in batch or kind_of(batch["y"]) != "classes":
        return [f"pair {i + 1}" for i in range(n_pairs)]
    labels, of = named_classes(data, batch["y"]), "" if class_names(data) else "class "
    labels = [shortened(label, MOST_LETTERS) for label in labels]
    return [f"{of}{a} → {b}" for a, b in zip(labels[::2], labels[1::2], strict=True)]
