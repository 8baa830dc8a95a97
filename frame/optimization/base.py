"""The one stepping path: how losses become steps, for any model and any number of optimizers."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeGuard

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from frame.common.durations import Duration, RunLength
from frame.common.errors import UserError
from frame.common.schedules import Coefficient
from frame.data.base import Batch, count_rows
from frame.models.base import Model
from frame.optimization.average import Average
from frame.optimization.clock import Agreement, Clock
from frame.optimization.execution import Eager
from frame.optimization.groups import Rules
from frame.optimization.losses import Diverged, RecentLosses, first_broken, means
from frame.optimization.noise import seed_noise
from frame.optimization.player import OptimizerPartial as OptimizerPartial
from frame.optimization.player import Player as Player
from frame.optimization.stretches import Stretch, hooked, loader_of


class Optimization(LightningModule):
    """How a model is stepped. A procedure defines its players (`make_players`) and what happens in a batch (`step`).

    Each batch is one iteration, whatever the number of optimizers. The noise of an iteration is seeded by (noise_seed,
    iteration, rank), so that no pause, evaluation or resume changes the random numbers.

    Args:
        model: the objective.
        batch_size: rows in a batch of each process.
        accumulate: batches whose gradients make one step: the mean over their rows, as for one large batch.
        clip: largest norm of the gradient of a player without its own clip; None does not clip.
        average: decay of an exponential moving average of the weights, which evaluations use; None keeps no average.
        noise_seed: seeds the model's random numbers in training.
        rules: by name, parameters that have their own options or are frozen; see `frame.optimization.groups`.
        lr_batch: the rows of a step, over all processes, for which learning rates are given. They are multiplied by
            batch_size * accumulate * processes / lr_batch, as in Goyal et al. 2017 (1706.02677), section 2.1; None
            leaves them.

    Raises:
        UserError: a value is out of range, or a rule cannot be read or matches nothing.
    """

    COUNTERS = ("iterations", "epochs", "seconds", "samples", "updates")
    find_unused_parameters = False  # True if a backward pass reaches only some of the parameters

    def __init__(
        self,
        model: Model,
        batch_size: int,
        accumulate: int = 1,
        clip: float | None = None,
        average: float | None = None,
        noise_seed: int = 0,
        rules: Mapping[str, Any] | None = None,
        lr_batch: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("accumulate", accumulate), ("lr_batch", lr_batch)):
            if value is not None and not value >= 1:
                raise UserError(f"optimization.{name}={value}: must be at least 1")
        if average is not None and not 0 <= average < 1:
            raise UserError(f"optimization.average={average}: a decay lies in [0, 1), such as 0.999")
        self.automatic_optimization = False
        self.model = model
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.lr_batch = lr_batch
        self.world = 1  # processes, once they are known
        self.clip = checked_clip("clip", clip)
        self.average = average
        self.noise_seed = noise_seed
        self.rules = Rules(rules, model)
        if any(not isinstance(rule.freeze, bool) for rule in self.rules.rules):
            self.find_unused_parameters = True
        self.run_length: RunLength | None = None
        self.counters: dict[str, float] = dict.fromkeys(self.COUNTERS, 0)
        self.clock = Clock()
        self.players: dict[str, Player] = {}
        self.recent = RecentLosses()  # since they were last logged
        self.events: dict[str, dict[str, Any]] = {}  # the newest measurement under each name
        self.accumulated = 0  # batches whose gradients are accumulated for the next step
        self.waiting = 0  # their rows
        self.rows = 0  # rows of the current batch
        self.noticed_signal = 0  # set by a signal handler on this rank
        self.measuring = False  # whether an evaluation runs that a signal may end
        self.stop_signal = 0  # a signal that any rank has noticed; the same on all ranks
        self.watchers: list[Callable[[Optimization], bool]] = []  # each says whether it acts after this iteration
        self.interrupted = False  # whether training ended because of a signal
        self.execution = Eager()
        self._agreement = Agreement()
        self._loader: Any = None
        self._backward: Callable[[Tensor], object] = Tensor.backward
        # In a list, so that Module.parameters, and with it DDP, does not see the copy.
        self._averaged: list[Average] = []
        self._coefficients: list[Coefficient] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, int | float):  # quicker than nn.Module's way, which looks for parameters: 10 µs a step
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Defined by a procedure

    def make_players(self) -> dict[str, Player]:
        raise NotImplementedError

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Descends for each player and returns the scalars to log, with 'loss' among them."""
        raise NotImplementedError

    def kinds(self) -> list[tuple[int, float]]:
        """Values of counters['updates'] for which `step` does different work, each with its share of the iterations."""
        return [(0, 1.0)]

    def phase(self) -> Hashable:
        """What `step` decides by the counters, such as whose turn it is; an execution may repeat the operations of a
        phase. A procedure whose `step` reads `counters` defines it."""
        return ()

    # The path

    def configure_model(self) -> None:  # Lightning calls it before it makes the optimizers
        self.execution.place(self)

    def configure_optimizers(self) -> list[Optimizer]:
        self.players = self.grouped_players()
        return [player.optimizer for player in self.players.values()]

    def grouped_players(self) -> dict[str, Player]:
        """The players with their optimizers, grouped by the rules.

        Raises:
            UserError: an optimizer refuses an option, or a parameter is neither frozen nor has a player.
        """
        self.forget_players()
        players = self.make_players()
        taken = {id(parameter) for player in players.values() for parameter in player.parameters}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and id(parameter) not in taken:
                raise UserError(
                    f"no optimizer has the parameter {name}: give it to a player, or freeze it: "
                    f"optimization.rules={{still: {{match: {name}, freeze: true}}}}"
                )
        for name, player in players.items():
            player.clip = player.clip or self.clip
            player.group(self.rules, name, self.lr_scale)
            if self.run_length is not None:
                player.bind(self.run_length, name)
        return players

    def forget_players(self) -> None:
        """Takes the players away; their parameters can be trained by others."""
        for player in self.players.values():  # they may still be frozen
            for parameter in player.parameters:
                parameter.requires_grad_(True)
        self.players = {}

    @property
    def lr_scale(self) -> float:
        """The factor of all learning rates, see `lr_batch`."""
        return 1.0 if self.lr_batch is None else self.batch_size * self.accumulate * self.world / self.lr_batch

    def named(self, part: nn.Module) -> list[tuple[str, nn.Parameter]]:
        """The parameters of a part of the model, with their names in the model."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [(names[id(parameter)], parameter) for parameter in part.parameters()]

    def bind(self, limits: Sequence[Duration], loader: Any, *, cut: bool = False) -> None:
        """Counts the lengths of schedules and freezes in a run.

        Args:
            limits: the run ends at the first of these.
            loader: the run's loader. Its length is the batches of an epoch, `rows` the rows of a batch on each rank.
            cut: whether the run may end before its schedules do.

        Raises:
            UserError: a schedule is longer than the run, or its unit is unknown or does not go with the run's.
        """
        self.world = getattr(loader, "world", 1)
        iterations = {
            "iterations": 1.0,
            "updates": float(self.accumulate),
            "epochs": float(len(loader)),
            "samples": 1 / (getattr(loader, "rows", self.batch_size) * self.world),
        }
        counters = tuple(self.counters)
        self.run_length = RunLength(tuple(limits), iterations, counters, self.accumulate, cut)
        for name, module in self.model.named_modules():
            if _follows_a_schedule(module):
                module.bind(self.run_length, f"model.{name}")
                module.advance(self.counters)
        if not self.players:
            self.grouped_players()  # binds the schedules of the players that train
        for name, player in self.players.items():
            player.bind(self.run_length, name)

    def follows_the_run(self) -> bool:
        """Whether a longer run changes a schedule or a freeze, because its length is a share of the run."""
        players = self.players or self.grouped_players()
        coefficients = [m for m in self.model.modules() if _follows_a_schedule(m)]
        return any(c.follows_the_run for c in coefficients) or any(p.follows_the_run for p in players.values())

    def values_at(self, counters: Mapping[str, float], limits: Sequence[Duration], loader: Any) -> dict[str, float]:
        """The scheduled values at these counters of a run with these limits, by their logged names."""
        copy = deepcopy(self)
        copy.bind(limits, loader, cut=True)
        copy.players = copy.grouped_players()
        copy.counters = dict(counters)
        copy.advance()
        return {**copy.options(), **copy.coefficients()}

    def start(self, given: Any, agreement: Agreement, backward: Callable[[Tensor], object]) -> None:
        """Prepares for the first iteration, once the model is on its device.

        Args:
            given: where the batches come from: a loader, which knows how many epochs are done, or stretches of it.
            agreement: between the ranks of this run.
            backward: goes backward from a loss.
        """
        self._loader = loader_of(given)
        self._agreement, self._backward = agreement, self.execution.way_back(backward)
        self.execution.prepare(self, given)
        self.clock.start()

    def training_step(self, batch: Batch | Stretch, batch_idx: int) -> None:
        self.execution.run(self, batch if isinstance(batch, Stretch) else (batch,))

    def iterate(self, batch: Batch) -> None:
        """One iteration: a step on this batch, and what is counted."""
        seed_noise(self.noise_seed, int(self.counters["iterations"]), self._agreement.rank)
        if self.accumulated == 0:
            self.advance()
        self.accumulated += 1
        self.rows = len(batch["index"])
        self.waiting += self.rows
        self.recent.add(self.execution.step(self, batch))
        if self.complete:
            self._count_update()
        self._count(batch)

    @property
    def complete(self) -> bool:
        """Whether the accumulation ends with this batch, so that its step updates."""
        return self.accumulated == self.accumulate

    def work(self, batch: Batch) -> dict[str, Tensor]:
        """All that an iteration computes on the device. What it decides on the host is in `decided`."""
        losses = self.step(batch)
        if self.complete:
            self.follow(int(self.counters["iterations"]) + 1)
        return losses

    def follow(self, iteration: int) -> None:
        """What follows an update: the model's own, and the average of the weights."""
        self.model.after_update(iteration)
        for averaged in self._averaged:
            averaged.follow(self.model)

    def decided(self) -> Hashable:
        """What the host decides about an iteration. Iterations for which it is equal do the same operations."""
        waiting = self.waiting if self.complete and self.accumulate > 1 else 0
        begins = tuple(averaged.begins for averaged in self._averaged)
        players = tuple(player.decided(gradients=self.accumulate > 1) for player in self.players.values())
        return self.phase(), self.complete, self.rows, waiting, begins, players

    def is_due(self) -> bool:
        """Whether a callback has something to do after this iteration, so that a stretch ends."""
        for due in self.watchers:  # a loop is quicker than any() of a generator
            if due(self):
                return True
        return False

    @contextmanager
    def playing(self, name: str) -> Iterator[None]:
        """In this context, gradients reach only this player's parameters."""
        others = [
            p for other, player in self.players.items() if other != name for p in player.parameters if p.requires_grad
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def descend(self, players: str | Sequence[str], loss: Tensor) -> None:
        """Goes backward through `loss`, and steps these players if their accumulation is complete.

        Does nothing while all their parameters are frozen.
        """
        names = [players] if isinstance(players, str) else players
        if not any(parameter.requires_grad for name in names for parameter in self.players[name].parameters):
            self.execution.put_away()
            return
        if self.accumulate > 1:  # a mean over rows, weighted by their number
            loss = loss / self.accumulate
            loss = loss if self.rows == self.batch_size else loss * (self.rows / self.batch_size)
        self._backward(loss)
        if self.complete:
            for name in names:
                self._update(self.players[name])

    def _update(self, player: Player) -> None:
        """Steps with the accumulated gradients: a mean over their rows, even if batches are short or missing."""
        full = self.accumulate * self.batch_size
        if self.accumulate > 1 and self.waiting != full:
            gradients = [p.grad for p in player.parameters if p.grad is not None]
            if gradients:
                torch._foreach_mul_(gradients, full / self.waiting)
        player.update()

    def _count_update(self) -> None:
        self.accumulated = self.waiting = 0
        self.counters["updates"] += 1

    def flush(self) -> None:
        """Steps with the accumulated gradients, so that a run that reaches its limit ends on an optimizer step."""
        if self.accumulated:
            for player in self.players.values():
                self._update(player)
            self.follow(int(self.counters["iterations"]) + 1)
            self._count_update()

    def advance(self) -> None:
        """Sets all scheduled values for the completed iterations, and ends freezes that are due."""
        for coefficient in self._scheduled():
            coefficient.advance(self.counters)
        for player in self.players.values():
            player.advance(self.counters)
        self.rules.settle()

    def unfinished(self) -> list[str]:
        """The schedules and freezes that are not over, such as 'model.beta' and 'optimization.lr'."""
        going = [
            f"model.{n}" for n, m in self.model.named_modules() if _follows_a_schedule(m) and not m.ended(self.counters)
        ]
        return going + [
            f"optimization.{option}" + (f" of {name}" if len(self.players) > 1 else "")
            for name, player in self.players.items()
            for option in player.unfinished(self.counters)
        ]

    def coefficients(self) -> dict[str, float]:
        """The values of scheduled coefficients, by their names in the model."""
        return {name: m.value.item() for name, m in self.model.named_modules() if _follows_a_schedule(m)}

    def options(self) -> dict[str, float]:
        """Learning rates and the other scheduled options of optimizers, by their logged names.

        One player with one group: 'lr'. Several players: 'lr/<player>'. Several groups: 'lr/<player>/<rule>'.
        """
        found = {}
        for player_name, player in self.players.items():
            for option, rule, value in player.values():
                parts = [option, player_name if rule or len(self.players) > 1 else "", rule]
                found["/".join(part for part in parts if part)] = value
        return found

    def groups(self) -> list[dict[str, Any]]:
        """Each player's parameters by group: 'player', 'group', 'tensors', 'parameters' (their number) and options.

        Parameters that are frozen for good have no player.
        """
        players = self.players or self.grouped_players()
        found = [{"player": name, **group} for name, player in players.items() for group in player.described()]
        still = [parameter for parameter in self.model.parameters() if not parameter.requires_grad]
        if still:
            numbers = sum(parameter.numel() for parameter in still)
            found.append({"player": "", "group": "frozen", "tensors": len(still), "parameters": numbers})
        return found

    def _scheduled(self) -> list[Coefficient]:
        if self._coefficients is None:  # found once, because a walk over all modules takes as long as a step
            tops = (self.model, *self._averaged)
            self._coefficients = [m for top in tops for m in top.modules() if _follows_a_schedule(m)]
        return self._coefficients

    def _count(self, batch: Batch) -> None:
        counters = self.counters
        counters["iterations"] += 1
        counters["samples"] += count_rows(batch) * self._agreement.world
        counters["epochs"] = self._loader.epochs
        signal = max(self.stop_signal, self.noticed_signal)
        counters["seconds"], self.stop_signal = self._agreement.after_iteration(self.clock.seconds, signal)

    def agree_on_signal(self) -> None:
        """Shares rank 0's clock, and a signal to any rank, with all ranks. All ranks must call it together."""
        signal = max(self.stop_signal, self.noticed_signal)
        self.counters["seconds"], self.stop_signal = self._agreement.now(self.counters["seconds"], signal)

    # Used by others

    @property
    def keeps_average(self) -> bool:
        """Whether there is an average of the weights."""
        return bool(self._averaged)

    @property
    def evaluated(self) -> nn.Module:
        """The model whose weights are reported: the average if there is one, else the trained one."""
        return self._averaged[0].module if self._averaged else self.model

    def on_fit_start(self) -> None:
        self.prepare_average()

    def on_train_start(self) -> None:  # after the first evaluations of the callbacks
        trainer = self.trainer
        agreement = Agreement(trainer.world_size, trainer.global_rank, self.device, self.counters["seconds"])
        self.start(trainer.train_dataloader, agreement, self._way_back())

    def _way_back(self) -> Callable[[Tensor], object]:
        """How to go backward. Lightning's own way asks each callback twice, so it is taken only if one wants that."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if hooked(("on_before_backward", "on_after_backward"), self, callbacks):
            return self.manual_backward
        if self.trainer.world_size == 1:
            return Tensor.backward
        prepare = self.trainer.strategy.pre_backward  # without it, ranks would keep their own gradients

        def backward(loss: Tensor) -> None:
            prepare(loss)
            loss.backward()

        return backward

    def prepare_average(self) -> None:
        """Makes the averaged copy. The model must be on its device."""
        if self.average is not None and not self._averaged:
            self._averaged = [Average(self.model, self.average)]

    def losses(self) -> dict[str, float]:
        """The means of the losses since the last call.

        Raises:
            Diverged: a component was NaN or infinite. The message names it and the iteration.
        """
        recent = list(self.recent)
        self._check_finite(recent)
        self.recent.clear()
        return means(recent)

    def check_finite(self) -> None:
        """Raises Diverged if a loss since the last `losses()` was NaN or infinite."""
        self._check_finite(list(self.recent))

    def _check_finite(self, recent: Sequence[Mapping[str, float]]) -> None:
        broken = first_broken(recent)
        if broken is not None:
            place, name, value = broken
            iteration = int(self.counters["iterations"]) - len(recent) + 1 + place
            raise Diverged(
                f"{name} is {value} at iteration {iteration}: try a smaller learning rate, or optimization.clip=1"
            )

    def training_state(self) -> dict[str, Any]:
        """The state that determines further training, in tensors and plain containers."""
        return {
            "model": self.model.state_dict(),
            "average": self._averaged[0].state_dict() if self._averaged else None,
            "players": {name: player.state_dict() for name, player in self.players.items()},
            "counters": dict(self.counters),
            "recent": list(self.recent),
            "events": self.events,
            "width": self.execution.width,
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        state = self.execution.placed(self, state)
        self.model.load_state_dict(state["model"])
        self.prepare_average()
        for averaged in self._averaged:
            averaged.load_state_dict(state["average"])
        for name, player in self.players.items():
            player.load_state_dict(state["players"][name])
        self.counters = dict(state["counters"])
        self.clock.seconds = self.counters["seconds"]
        self.recent = RecentLosses.of(state["recent"], self.device)
        self.events = state["events"]


def _follows_a_schedule(module: nn.Module) -> TypeGuard[Coefficient]:
    return isinstance(module, Coefficient) and module.changes


def checked_clip(name: str, clip: float | None) -> float | None:
    """Returns `clip`. Raises UserError unless it is above 0 or None."""
    if clip is not None and not clip > 0:
        raise UserError(f"optimization.{name}={clip}: must be above 0")
    return clip
