"""Several models at once: on their summed loss, or each with its own optimizer."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from frame.common.errors import UserError, choices
from frame.data.base import Batch
from frame.models.base import Model
from frame.optimization.base import Optimization, OptimizerPartial, Player


class JointOptimization(Optimization):
    """Trains the models of a model that has `models` and `summed(losses)`; see `frame.models.Joint`.

    `summed=True`: one gradient, that of the weighted sum. Each model's optimizer steps with its part of it.
    `summed=False`: each model descends its own loss, unweighted, and its gradient reaches no other model's parameters.
    The two differ only in the weights, and in networks that models share. A shared network belongs to the first of its
    models; a model without parameters of its own is only evaluated.

    Args:
        optimizer: a partial, for each model that `optimizers` does not name.
        optimizers: partials by the model's name.
        summed: as above.

    The other arguments are `Optimization`'s.

    Raises:
        UserError: the model holds no models, or `optimizers` names an unknown model.
    """

    find_unused_parameters = True

    def __init__(
        self,
        model: Model,
        optimizer: OptimizerPartial,
        batch_size: int,
        optimizers: Mapping[str, OptimizerPartial] | None = None,
        summed: bool = False,
        accumulate: int = 1,
        clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
        rules: Mapping[str, Any] | None = None,
        lr_batch: int | None = None,
    ) -> None:
        super().__init__(model, batch_size, accumulate, clip, average, noise_seed, rules, lr_batch)
        if not hasattr(model, "models") or not hasattr(model, "summed"):
            raise UserError(f"{type(model).__name__} holds no models: choose model=Joint, or optimization=batch_ADAM")
        models: Any = model.models
        for name in optimizers or {}:
            if name not in models:
                raise UserError(f"optimization.optimizers: {choices(name, models, kind='model')}")
        self._optimizers = {name: (optimizers or {}).get(name, optimizer) for name in models}
        self.summed = summed

    def make_players(self) -> dict[str, Player]:
        models: Any = self.model.models
        taken: set[int] = set()
        players = {}
        for name in models:
            mine = [(full, p) for full, p in self.named(models[name]) if id(p) not in taken and p.requires_grad]
            taken |= {id(parameter) for _, parameter in mine}
            if mine:
                players[name] = Player(mine, self._optimizers[name])
        return players

    def step(self, batch: Batch) -> dict[str, Tensor]:
        joint: Any = self.model
        if self.summed:
            losses: dict[str, Tensor] = joint(batch)
            self.descend(list(self.players), losses["loss"])
            return losses
        found = {}
        for name in joint.models:
            with self.playing(name):
                found[name] = joint.models[name](batch)
                if name in self.players:
                    self.descend(name, found[name]["loss"])
        summed: dict[str, Tensor] = joint.summed({n: {k: v.detach() for k, v in f.items()} for n, f in found.items()})
        return summed
