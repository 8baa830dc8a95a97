"""Reduces the learning rate when a measurement no longer improves."""

from collections.abc import Mapping

from lightning.pytorch import Trainer

from frame.callbacks.base import Measurement, Monitor
from frame.common.errors import UserError
from frame.optimization.base import Optimization, Player


class ReduceOnPlateau(Monitor):
    """Multiplies every learning rate by `factor` after more than `patience` measurements without improvement.

    Args:
        monitor, mode, min_delta: as for every monitor.
        factor: in (0, 1).
        patience: measurements without improvement before a rate is reduced.
        min_lr: the smallest learning rate.
    """

    def __init__(
        self,
        monitor: str,
        factor: float = 0.1,
        patience: int = 3,
        mode: str | None = None,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise UserError(f"ReduceOnPlateau: factor={factor} must lie between 0 and 1")
        self.factor, self.patience, self.min_lr = factor, patience, min_lr

    def check(self, players: Mapping[str, Player]) -> None:
        if any(player.schedules("lr") for player in players.values()):
            raise UserError("ReduceOnPlateau and a schedule of lr both set the learning rate: remove one of them")

    def act(self, trainer: Trainer, optimization: Optimization, measurement: Measurement, improved: bool) -> None:
        if self.waited > self.patience:
            self.waited = 0
            for player in optimization.players.values():
                for group in player.optimizer.param_groups:
                    group["lr"] = max(group["lr"] * self.factor, self.min_lr)
