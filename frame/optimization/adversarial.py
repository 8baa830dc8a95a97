"""Two players: the adversary and the rest of the model, each with its own optimizer."""

from collections.abc import Hashable, Mapping
from typing import Any

from torch import Tensor

from frame.common.errors import UserError, at_least
from frame.data.base import Batch
from frame.models.base import AdversarialModel, Model
from frame.optimization.base import Optimization, OptimizerPartial, Player, checked_clip


class AdversarialOptimization(Optimization):
    """The adversary steps in each batch, all other parameters in each `n_adversary_steps`-th batch, after it.

    An iteration is a batch, whichever player steps on it. The adversary sees new data each time, as in algorithm 1 of
    Goodfellow et al. 2014 (1406.2661) and of Gulrajani et al. 2017 (1704.00028). `after_update` and averages count the
    adversary's steps.

    Args:
        optimizer: a partial, called with all parameters except the adversary's.
        adversary_optimizer: a partial, called with the adversary's parameters.
        n_adversary_steps: steps of the adversary for one step of the others.
        adversary_clip: largest norm of the adversary's gradient; None takes `clip`.

    The other arguments are `Optimization`'s.

    Raises:
        UserError: the model has no adversary, or a number is out of range.
    """

    find_unused_parameters = True

    def __init__(
        self,
        model: Model,
        optimizer: OptimizerPartial,
        adversary_optimizer: OptimizerPartial,
        batch_size: int,
        n_adversary_steps: int = 1,
        accumulate: int = 1,
        clip: float | None = None,
        adversary_clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
        rules: Mapping[str, Any] | None = None,
        lr_batch: int | None = None,
    ) -> None:
        super().__init__(model, batch_size, accumulate, clip, average, noise_seed, rules, lr_batch)
        if not isinstance(model, AdversarialModel):
            raise UserError(f"{type(model).__name__} has no adversary: choose optimization=batch_ADAM")
        at_least(1, n_adversary_steps=n_adversary_steps)
        self._optimizer, self._adversary_optimizer = optimizer, adversary_optimizer
        self.n_adversary_steps = n_adversary_steps
        self.adversary_clip = checked_clip("adversary_clip", adversary_clip)

    @property
    def adversarial(self) -> AdversarialModel:
        assert isinstance(self.model, AdversarialModel)
        return self.model

    def make_players(self) -> dict[str, Player]:
        adversary = self.named(self.adversarial.adversary)
        theirs = dict(adversary)
        others = [(name, parameter) for name, parameter in self.model.named_parameters() if name not in theirs]
        return {
            "model": Player(others, self._optimizer),
            "adversary": Player(adversary, self._adversary_optimizer, self.adversary_clip),
        }

    def kinds(self) -> list[tuple[int, float]]:
        n = self.n_adversary_steps
        return [(0, 1.0)] if n == 1 else [(0, 1 - 1 / n), (n - 1, 1 / n)]

    def phase(self) -> Hashable:
        return (self.counters["updates"] + 1) % self.n_adversary_steps == 0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        with self.playing("adversary"):
            found = self.adversarial.compute_adversarial_loss(batch)
            self.descend("adversary", found["loss"])
        losses = {f"adversary/{name}": value for name, value in found.items()}
        # `updates` does not change while gradients accumulate, so that all batches of a step do the same
        if self.phase():
            with self.playing("model"):
                found = self.model(batch)
                self.descend("model", found["loss"])
            losses |= found
        return losses
