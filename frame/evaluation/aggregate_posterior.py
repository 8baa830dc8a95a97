"""The codes of all pictures together, beside the prior that samples are drawn from."""

from typing import Protocol, runtime_checkable

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, HasPrior, LogEntry
from frame.evaluation.codes import codes_of
from frame.evaluation.colours import COLOURS
from frame.evaluation.interpolations import HasPriorDensity
from frame.measures.geometry import finite
from frame.measures.neighbours import check_codes

WIDE = 0.001  # share of the codes that may lie outside the drawn range, on each side
COLUMNS = 3


@runtime_checkable
class _EncodesWithPrior(Encodes, HasPrior, Protocol):
    pass


class AggregatePosteriorEvaluation(Evaluation):
    """Histograms of z ~ q(z|x) over all pictures, one z per picture, with the prior's density drawn over them.

    The dimensions are those whose means of q(z|x) vary most. Below them are the joint density of the first two and that
    of the prior. Where these two differ, samples are decoded from codes that no picture has.

    Args:
        evaluate_on: split.
        n_dims: dimensions shown.
        n_samples: pictures of the split, and codes drawn from a prior that is not Gaussian; all pictures if None.

    Raises:
        UserError: a number is below 1.
        NoNumber: from `evaluate`, codes that are NaN or all equal.
    """

    needs = (Encodes, HasPrior)
    numbers = {}
    pictures = ("",)

    def __init__(self, evaluate_on: str = "test", n_dims: int = 6, n_samples: int | None = 10_000) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_dims=n_dims, n_samples=n_samples)
        self.n_dims, self.n_samples = n_dims, n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, _EncodesWithPrior)
        means = finite(codes_of(model, data, self.evaluate_on, "mean", self.n_samples).codes)
        z = finite(codes_of(model, data, self.evaluate_on, "sample", self.n_samples).codes)
        check_codes(z)
        dims = means.var(0, correction=0).argsort(descending=True)[: self.n_dims]
        drawn = finite(model.sample_prior(max(len(z), 10_000)).flatten(1))
        below = f"{len(z)} pictures of {self.evaluate_on}, one z ~ q(z|x) each"
        figure = _figure(z[:, dims], drawn[:, dims], _gaussian(model, dims), dims.tolist(), below)
        return LogEntry(self.evaluate_on, figures={"": figure})


def _gaussian(model: nn.Module, dims: Tensor) -> list[Normal] | None:
    """The prior of each of these dimensions; None if it is not Gaussian or they depend on one another."""
    p_z = model.p_z() if isinstance(model, HasPriorDensity) and getattr(model, "inputs", ("x",)) == ("x",) else None
    values = p_z.base_dist if isinstance(p_z, Independent) else p_z
    if not isinstance(values, Normal):
        return None
    return [Normal(values.loc.cpu()[i], values.scale.cpu()[i]) for i in dims.tolist()]


def _figure(z: Tensor, drawn: Tensor, prior: list[Normal] | None, dims: list[int], below: str) -> Figure:
    n_rows = -(-len(dims) // COLUMNS)
    both = len(dims) > 1
    figure = Figure(figsize=(9, 2.4 * n_rows + 3.8 * both + 0.3), dpi=100, layout="constrained")
    upper, *lower = figure.subfigures(1 + both, 1, height_ratios=[2.4 * n_rows + 0.3, 3.8][: 1 + both], squeeze=False)[
        :, 0
    ]
    limits = [_limits(torch.cat([z[:, i], drawn[:, i]])) for i in range(len(dims))]
    for i, dim in enumerate(dims):
        axes = upper.add_subplot(n_rows, COLUMNS, i + 1)
        edges = _edges(limits[i], len(z) ** 0.5 / 2).numpy()
        axes.hist(z[:, i].numpy(), bins=edges, density=True, color=COLOURS[4], label="pictures, q(z)")
        if prior is not None:
            x = torch.linspace(*limits[i], 200)
            axes.plot(x.numpy(), prior[i].log_prob(x).exp().numpy(), color="black", linestyle="--", label="prior, p(z)")
        else:
            axes.hist(drawn[:, i].numpy(), bins=edges, density=True, histtype="step", color="black", linestyle="--",
                      label="prior, p(z)")  # fmt: skip
        axes.set_xlabel(f"z[{dim}]")
        axes.set_ylabel("density" if i % COLUMNS == 0 else "")
        if i == 0:
            upper.legend(loc="outside upper right", ncols=2, frameon=False)
            upper.suptitle(below, fontsize=10, x=0.01, ha="left")
    if both:
        _two_dimensions(lower[0], z, drawn, limits, dims)
    return figure


def _two_dimensions(
    figure: Figure, z: Tensor, drawn: Tensor, limits: list[tuple[float, float]], dims: list[int]
) -> None:
    edges = [_edges(limits[i], (len(z) / 12) ** 0.5) for i in range(2)]
    densities = [torch.histogramdd(rows[:, :2].contiguous(), bins=edges, density=True).hist for rows in (z, drawn)]
    most = max(float(density.max()) for density in densities)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, density, name in zip(panels, densities, ("pictures, q(z)", "prior, p(z)"), strict=True):
        # cividis looks the same with colour blindness; both sides have the same scale
        image = axes.imshow(density.T.numpy(), origin="lower", extent=(*limits[0], *limits[1]), aspect="auto",
                            cmap="cividis", vmin=0, vmax=most)  # fmt: skip
        axes.set_xlabel(f"z[{dims[0]}]")
        axes.set_title(name, fontsize=10)
    panels[0].set_ylabel(f"z[{dims[1]}]")
    figure.colorbar(image, ax=panels, label="density")


def _edges(limits: tuple[float, float], bins: float) -> Tensor:
    """Edges of bins of equal width, fewer for fewer pictures."""
    return torch.linspace(*limits, min(max(int(bins), 10), 50) + 1, dtype=torch.float64)


def _limits(values: Tensor) -> tuple[float, float]:
    low, high = (torch.quantile(values[:100_000], q).item() for q in (WIDE, 1 - WIDE))
    return low, high if high > low else low + 1
