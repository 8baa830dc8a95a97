"""When evaluations happen."""

import traceback
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from frame.callbacks.base import Context, Listens, Measurement, optimization_of
from frame.common.durations import Duration, parse
from frame.common.errors import Parted, UserError
from frame.common.interrupts import Interrupted
from frame.common.output import say
from frame.common.ranks import in_parts
from frame.evaluation.base import Evaluation
from frame.evaluation.measured import Measured, Moment, measure
from frame.evaluation.shards import together
from frame.optimization.base import Optimization


class EvaluationCallback(Callback):
    """Evaluates at the start, each `evaluate_every`, and at the end. The run's clock stops meanwhile.

    All ranks evaluate together, with rank 0's buffers; rank 0 logs, and all receive its numbers. If there is no number,
    for example because the encoder has collapsed, one line says so and training continues. A signal ends it at once,
    and the resumed run repeats it.

    Args:
        name: the name under which the result is logged, such as 'ELBO/Validation'.
        evaluate_every: a duration ('10 seconds', '1 epoch', '500 iterations'), or 'end' for the end only.
        evaluator: the evaluation to run.
    """

    def __init__(self, name: str, evaluate_every: str, evaluator: Evaluation) -> None:
        self.name = name
        self.evaluator = evaluator
        self.every: Duration | None = None
        if evaluate_every != "end":
            self.every = parse(evaluate_every, key=f"evaluate_every of {name}")
        self.next_at = 0.0
        self.evaluated_at = -1  # the iteration of the last evaluation
        self.succeeded = False
        self.without = False  # whether the last evaluation gave no number; reported once
        self.context: Context | None = None

    @property
    def state_key(self) -> str:
        return f"EvaluationCallback[{self.name}]"

    def bind(self, context: Context) -> None:
        self.context = context

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate_if_due(trainer, optimization_of(pl_module))

    def is_due(self, optimization: Optimization) -> bool:
        return self.every is not None and optimization.counters[self.every.counter] >= self.next_at

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._evaluate_if_due(trainer, optimization_of(pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        optimization.agree_on_signal()  # after a signal since the last batch, the resumed run evaluates
        if not optimization.stop_signal and self.evaluated_at != optimization.counters["iterations"]:
            self._evaluate(trainer, optimization)

    def _evaluate_if_due(self, trainer: Trainer, optimization: Optimization) -> None:
        if self.every is not None and self.is_due(optimization):
            self.next_at = self.every.next_after(optimization.counters[self.every.counter])
            self._evaluate(trainer, optimization)

    def _now(self, optimization: Optimization) -> float:
        return optimization.counters[self.every.counter] if self.every is not None else self.next_at

    def _evaluate(self, trainer: Trainer, optimization: Optimization) -> None:
        at = Moment.of(optimization.counters, self._context.weights if optimization.keeps_average else "")
        before, self.evaluated_at = self.evaluated_at, at.iteration
        try:
            with optimization.clock.paused():
                found = self._evaluate_here(trainer, optimization, at)
        except Interrupted as signalled:  # on all ranks
            optimization.stop_signal = signalled.number
            self.evaluated_at, self.next_at = before, min(self.next_at, self._now(optimization))
            return
        if isinstance(found, Exception):
            if not self.succeeded and not isinstance(found, UserError):
                raise found
            return
        self.succeeded = True
        optimization.events[self.name] = found.as_dict()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Listens):
                callback.on_measurement(trainer, optimization, found)

    def _evaluate_here(self, trainer: Trainer, optimization: Optimization, at: Moment) -> Measurement | Exception:
        """What rank 0 has found, or an error of any rank: the same on all ranks."""
        context = self._context
        model = optimization.evaluated if at.weights == "average" else optimization.model
        try:
            found = together(
                model,
                lambda: self._measure(model, optimization, at),
                trainer.global_rank,
                trainer.world_size,
            )
        except UserError as error:  # codes collapsed or diverged; settings were checked before training
            if not self.without and trainer.is_global_zero:
                say(f"{self.name} has no number at iteration {at.iteration}; training goes on: {error}")
                if context.run is not None:
                    context.run.trouble(self.name, f"no number at iteration {at.iteration}: {error}")
            self.without = True
            return error
        except Parted:  # not on all ranks
            raise
        except Exception as error:
            if self.succeeded and trainer.is_global_zero:
                text = "".join(traceback.format_exception(error))
                say(f"{self.name} failed at iteration {at.iteration}; training goes on\n{text}")
                if context.run is not None:
                    context.run.trouble(self.name, f"failed at iteration {at.iteration}: {error!r}")
            return error
        self.without = False
        measurement = Measurement.of(found)
        if trainer.world_size > 1:
            measurement = trainer.strategy.broadcast(measurement)
        if trainer.is_global_zero:
            found.log(trainer.loggers)
            if context.run is not None:
                context.run.record(found.records())
        return measurement

    def _measure(self, model: nn.Module, optimization: Optimization, at: Moment) -> Measured:
        """Measures, and raises Interrupted after a signal if the run can end here.

        It cannot within an accumulation, because gradients are not saved, nor if other ranks wait for this one's part.
        """
        optimization.measuring = optimization.accumulated == 0 and not in_parts(model)
        try:
            if optimization.measuring and optimization.noticed_signal:
                raise Interrupted(optimization.noticed_signal)
            return measure(self.evaluator, self.name, model, self._context.data, at)
        finally:
            optimization.measuring = False

    @property
    def _context(self) -> Context:
        assert self.context is not None, "bind() comes before training"
        return self.context

    def state_dict(self) -> dict[str, Any]:
        return {"next_at": self.next_at, "evaluated_at": self.evaluated_at, "succeeded": self.succeeded}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.next_at = state_dict["next_at"]
        self.evaluated_at = state_dict["evaluated_at"]
        self.succeeded = state_dict["succeeded"]
