"""How steps are executed. Neither a procedure's `step` nor a model knows which of these it is."""

import os
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.models.base import AdversarialModel, Model
from frame.optimization.stretches import loader_of


class Steps(Protocol):
    """What an execution needs of an `Optimization`."""

    model: Any

    def work(self, batch: Batch) -> dict[str, Tensor]: ...

    def iterate(self, batch: Batch) -> None: ...

    def is_due(self) -> bool: ...


class Eager:
    """Runs the operations of a step one after another, as Python calls them.

    `width` is the number of members that train together.

    Args:
        channels_last: whether pictures and maps lie in memory with their channels last, which convolutions on tensor
            cores and bf16 want. Numbers differ by rounding.
    """

    width = 1
    in_parts = False  # whether each process holds a part of every parameter
    empty: Callable[[Any, Any], Tensor] | None = None  # makes a tensor in parts of a size and a dtype

    def __init__(self, channels_last: bool = False) -> None:
        self.channels_last = channels_last

    def lay_out(self, model: nn.Module) -> None:
        """Called once when the model is built, before anything refers to its weights.

        Only weights of convolutions are converted: their results, and with them all maps, follow.

        Raises:
            UserError: channels_last, and the model has no such weights.
        """
        if not self.channels_last:
            return
        weights = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dim() == 4]
        if not weights:
            raise UserError(f"execution.channels_last=true: {type(model).__name__} has no convolutions: leave it out")
        for weight in weights:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def check(self, device: torch.device) -> None:
        """Raises UserError if it cannot train on this device; called before anything is written."""

    def untrained(self, build: Callable[[], nn.Module]) -> nn.Module:
        """What `build` makes, a model with its first weights, ready to be evaluated beside the one that is trained."""
        return build()

    def try_out(self, steps: Steps, batch: Batch, evaluate: Callable[[Model], object]) -> None:
        """Tries how it trains with copies, before anything is written; the first of several processes calls it.

        `evaluate` runs all evaluations with a copy.

        Raises:
            UserError: it cannot train this model.
        """

    def place(self, steps: Steps) -> None:
        """Called once before the optimizers are made, when the processes know each other."""

    def placed(self, steps: Steps, state: dict[str, Any]) -> dict[str, Any]:
        """What of a run's whole state this process loads."""
        return state

    def prepare(self, steps: Steps, given: Any) -> None:
        """Called once before the first step, when the model is on its device. `given` is a loader or `Stretches`."""

    def way_back(self, backward: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
        """How to go backward from a loss; `backward` is the way of the strategy and the callbacks."""
        return backward

    def put_away(self) -> None:
        """Called if there is no way back from a loss, because all that it could train is frozen."""

    def step(self, steps: Steps, batch: Batch) -> dict[str, Tensor]:
        """Computes an iteration, once all values that change are set; returns its losses."""
        return steps.work(batch)

    def run(self, steps: Steps, batches: Iterable[Batch]) -> None:
        """Trains on the batches up to the first after which a callback has something to do."""
        for batch in batches:
            steps.iterate(batch)
            if steps.is_due():
                return


class Compiled(Eager):
    """Compiles the losses of models and the augmentation (`torch.compile`); optimizers step as before.

    Random numbers are those of eager execution. Each shape of a batch is compiled by itself, so that a resumed run
    computes with the same code. The first iterations take seconds to minutes; later runs of the same model find the
    code in `cache`.

    Args:
        cache: folder of compiled code; TORCHINDUCTOR_CACHE_DIR wins. None: torch's own, a temporary folder.
        channels_last: as in `Eager`.

    Raises:
        UserError: there is no C++ compiler, which a CPU needs.
    """

    def __init__(self, cache: str | None = None, channels_last: bool = False) -> None:
        super().__init__(channels_last)
        compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
        if not torch.cuda.is_available() and not any(shutil.which(compiler) for compiler in compilers):
            raise UserError("execution=compiled needs a C++ compiler: install g++, or set execution=eager")
        if cache is not None:
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(cache).expanduser()))

    def prepare(self, steps: Steps, given: Any) -> None:
        loader = loader_of(given)
        how: dict[str, Any] = {"dynamic": False, "options": {"fallback_random": True}}
        compiled = partial(torch.compile, **how)
        for part in steps.model.modules():
            if isinstance(part, Model):
                part.compile(**how)
            if isinstance(part, AdversarialModel):
                part.compute_adversarial_loss = compiled(part.compute_adversarial_loss)  # type: ignore[method-assign]
        if hasattr(loader, "compile"):  # a loader of a user's own may have none
            loader.compile(compiled)
