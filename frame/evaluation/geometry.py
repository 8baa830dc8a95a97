"""The geometry of a split's codes; `frame.measures.geometry` defines the numbers."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from frame.common.errors import NoNumber, at_least
from frame.data.base import Batch, DataSet, whole_batch
from frame.evaluation.base import Better, Declaration, Encodes, Evaluation, LogEntry, Scalar, Unsuited, device_of
from frame.evaluation.codes import LAYERS, check_layers, codes_of, layers_of, named, require_layers
from frame.measures import geometry

# by its word: how it is computed, its unit ('of D' if None), what it is, and which values are better
NUMBERS: dict[str, tuple[Callable[[Tensor], float], str | None, str, Better]] = {
    "rankme": (geometry.rankme, None, "exp of the entropy of the singular values", "more"),
    "effective_rank": (geometry.effective_rank, None, "exp of the entropy of the covariance's spectrum", "more"),
    "alpha": (geometry.alpha_req, "", "exponent of the covariance's spectrum, least squares over its logarithms", ""),
    "uniformity": (geometry.uniformity, "log", "all pairs, t = 2, codes of length 1", "less"),
    "dead": (lambda z: float(geometry.dead_units(z)), None, "spread below 1 % of the widest dimension's", "less"),
}


class GeometryEvaluation(Evaluation):
    """The geometry of codes, without labels, for each layer.

    'rankme', 'effective_rank', 'uniformity', 'dead' dimensions and alpha-ReQ, as 'alpha' and as 'alpha_req', which is
    |alpha - 1|. If the data have two views, also the 'alignment' of their codes, and 'lidar' if `n_lidar` is not 0. The
    names of other layers than 'mean' begin with the layer.

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or if there are fewer.
        layers: 'mean' and 'features'; those that the model does not have are left out.
        n_lidar: rows of the split whose views `lidar` compares; 0 leaves it out.
        n_views: views of each of these rows.

    Raises:
        UserError: a number is out of range, or a layer is unknown; from `evaluate`, the codes have collapsed.
    """

    needs = (Encodes,)

    def __init__(
        self,
        evaluate_on: str = "test",
        n_samples: int | None = 10_000,
        layers: Sequence[str] = ("mean",),
        n_lidar: int = 0,
        n_views: int = 10,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        at_least(0, n_lidar=n_lidar)
        at_least(2, n_views=n_views)
        self.n_samples, self.layers, self.n_lidar, self.n_views = n_samples, check_layers(layers), n_lidar, n_views

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        require_layers(self, model, self.layers)
        if self.n_lidar and not _has_views(model, data):
            raise Unsuited(f"lidar needs 'views' of rows, and {type(data).__name__} has none: n_lidar=0", key="views")

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        row, numbers = next(self.batches(model, data, 1)), dict[str, str]()
        for layer in layers_of(model, self.layers):
            size = LAYERS[layer][1](model, row).shape[1]
            units = {name: f"of {size}" if unit is None else unit for name, (_, unit, *_) in NUMBERS.items()}
            units |= {"alpha_req": ""} | ({"alignment": "of 4"} if _has_views(model, data) else {})
            units |= {"lidar": f"of {size}"} if self.n_lidar else {}
            numbers |= {named(layer, name): unit for name, unit in units.items()}
        return Declaration(self.evaluate_on, numbers)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        entry = LogEntry(self.evaluate_on)
        for layer in layers_of(model, self.layers):
            entry.scalars |= {named(layer, name): one for name, one in self._measured(model, data, layer)}
        return entry

    def _measured(self, model: nn.Module, data: DataSet, layer: str) -> Iterator[tuple[str, Scalar]]:
        codes = codes_of(model, data, self.evaluate_on, layer, self.n_samples).codes
        n, size = codes.shape
        for name, (measure, unit, how, better) in NUMBERS.items():
            try:
                value, unit = measure(codes), f"of {size}" if unit is None else unit
            except NoNumber:
                if name == "alpha":  # codes in one direction have no power law, and all the other numbers
                    continue
                raise
            yield name, Scalar(value, unit, n, how, layer=layer, better=better, width=size)
            if name == "alpha":
                yield "alpha_req", Scalar(abs(value - 1), "", n, "|alpha - 1|", layer=layer, better="less", width=size)
        if _has_views(model, data):
            how = "squared distance of the first two views' codes, scaled to length 1"
            value = geometry.alignment(*self._views(model, data, layer))
            yield "alignment", Scalar(value, "of 4", n, how, layer=layer, better="less", width=size)
        if self.n_lidar:
            views = self._many_views(model, data, layer)
            how = f"exp of the entropy of linear discriminants of pictures by {views.shape[1]} views each"
            yield "lidar", Scalar(geometry.lidar(views), f"of {size}", len(views), how, layer=layer, width=size)

    def _views(self, model: nn.Module, data: DataSet, layer: str) -> tuple[Tensor, Tensor]:
        """Codes of the first two views of each row."""

        def of(batch: Batch) -> dict[str, Tensor]:
            x, y = (LAYERS[layer][1](model, {**batch, "x": view}) for view in batch["views"][:2])
            return {"x": x, "y": y}

        found = self.over_rows(model, data, self.n_samples, of)
        return found["x"], found["y"]

    def _many_views(self, model: nn.Module, data: DataSet, layer: str) -> Tensor:
        """Codes of `n_views` views of `n_lidar` rows, [N, Q, D]: the same rows are read again, with other noise."""
        source, device = data.split(self.evaluate_on), device_of(model)
        rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: self.n_lidar]
        found: list[Tensor] = []
        while len(found) < self.n_views:
            batch = whole_batch(source, rows, seed=len(found), device=device)
            found += [LAYERS[layer][1](model, {**batch, "x": view}).float().cpu() for view in batch["views"]]
        return torch.stack(found[: self.n_views], dim=1)


def _has_views(model: nn.Module, data: DataSet) -> bool:
    """Whether the data have views that the model can encode without other inputs."""
    return "views" in data.keys and tuple(getattr(model, "inputs", ("x",))) == ("x",)
