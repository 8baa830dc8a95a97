"""Modules of a user's own folder: two-player models, and callbacks that break a run on purpose."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import IO, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from frame.callbacks import checkpoints
from frame.callbacks.base import Context
from frame.common.errors import NoNumber
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Evaluation, LogEntry, Scalar
from frame.models.base import AdversarialModel
from frame.models.VAE import VAE
from frame.optimization.base import Optimization


class Duel(AdversarialModel):
    """A generator moves the mean of its noise to the data's; a linear critic distinguishes the two."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.generator = nn.Linear(4, n_in)
        self.adversary = nn.Sequential(nn.Dropout(0.1), nn.Linear(n_in, 1))

    def generate(self, x: Tensor) -> Tensor:
        return self.generator(torch.randn(len(x), 4, device=x.device))  # [B, n_in]

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].flatten(1)
        return {"loss": -self.adversary(self.generate(x)).mean() + self.generator.weight.square().sum()}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].flatten(1)
        gap = self.adversary(self.generate(x).detach()).mean() - self.adversary(x).mean()
        penalty = sum(p.square().sum() for p in self.adversary.parameters())
        return {"loss": gap + penalty}


class Contest(AdversarialModel):
    """A code that an adversary cannot read the label from. Draws no noise, so that gradients are means over rows."""

    needs = ("x", "y")

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(n_in, 4)
        self.scale = nn.Parameter(torch.tensor(0.5))  # one number
        self.adversary = nn.Linear(4, 10)

    def cross_entropy(self, batch: Batch) -> Tensor:
        code = self.scale * self.encoder(batch["x"].flatten(1))
        return nn.functional.cross_entropy(self.adversary(code), batch["y"])

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.cross_entropy(batch)}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.cross_entropy(batch)}


class Breaker(Callback):
    """Kills or signals its own process if the environment says so.

    BREAK='SIGKILL 17' kills at iteration 17; 'save 3' in the middle of the third save; 'end' when training is over.
    'end SIGTERM' sends that signal when training is over. With BREAK_RANK=1 only that rank gets signals. At iteration
    12, 'folder status.json' replaces a file of the run by a folder, and 'gone .' removes the run's folder, or one in
    it.
    """

    def __init__(self) -> None:
        self.saves = 0
        self.acted = 0  # the iteration at which it last looked
        self.run = Path()

    def bind(self, context: Context) -> None:
        self.run = context.run.path if context.run is not None else Path()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        how, _, when = os.environ.get("BREAK", "").partition(" ")
        if how == "save":
            whole = checkpoints.torch.save

            def half(state: Any, stream: IO[bytes], **options: Any) -> None:
                if not isinstance(state, dict):  # what ranks tell each other
                    whole(state, stream, **options)
                    return
                self.saves += 1
                if self.saves == int(when):
                    stream.write(b"half a checkpoint")
                    stream.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                whole(state, stream)

            checkpoints.torch.save = half  # type: ignore[assignment]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        how, _, name = os.environ.get("BREAK", "").partition(" ")
        if how == "end":
            os.kill(os.getpid(), getattr(signal, name or "SIGKILL"))

    def is_due(self, optimization: Optimization) -> bool:
        self.act(int(optimization.counters["iterations"]))  # within a stretch, which this does not end
        return False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.act(int(pl_module.counters["iterations"]))  # type: ignore[index]

    def act(self, iteration: int) -> None:
        how, _, when = os.environ.get("BREAK", "").partition(" ")
        if iteration == self.acted:
            return
        self.acted = iteration
        here = os.environ.get("BREAK_RANK") in (None, os.environ.get("RANK"))
        if how.startswith("SIG") and iteration == int(when) and here:
            os.kill(os.getpid(), getattr(signal, how))
        if how == "worker" and iteration == int(when):
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        if how == "shorten" and iteration == int(when):
            os.truncate(os.environ["FILE"], os.path.getsize(os.environ["FILE"]) // 2)
        if how in ("folder", "gone") and iteration == 12:
            path = self.run / when
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if how == "folder":
                path.mkdir()


class EachBatch(Callback):
    """Wants to be called for each batch, so that there are no stretches."""

    def on_train_batch_start(self, *args: Any) -> None: ...


class Witness(Callback):
    """Writes a line per rank at the end: its rank, its rows, and a hash of its weights and buffers."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.seen: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.seen.extend(batch["index"].tolist())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights = b"".join(w.detach().cpu().numpy().tobytes() for w in pl_module.state_dict().values())
        seconds = pl_module.counters["seconds"]  # type: ignore[index]
        with Path(f"{self.file}.{trainer.global_rank}").open("w") as stream:
            stream.write(f"{hashlib.sha256(weights).hexdigest()}\n{seconds}\n{' '.join(map(str, self.seen))}\n")


class Poison(Callback):
    """Makes a weight NaN at an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def is_due(self, optimization: Optimization) -> bool:
        return optimization.counters["iterations"] == self.iteration

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if pl_module.counters["iterations"] == self.iteration:  # type: ignore[index]
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("nan"))


class Failing(Evaluation):
    """Draws random numbers, switches modes, and fails from its `fails_from`-th call on."""

    calls = 0

    def __init__(self, evaluate_on: str = "valid", fails_from: int = 1) -> None:
        super().__init__(evaluate_on)
        self.fails_from = fails_from

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        Failing.calls += 1
        torch.randn(7)
        model.train()
        if Failing.calls >= self.fails_from:
            raise RuntimeError("this evaluator fails on purpose")
        return LogEntry(self.evaluate_on, {"": Scalar(float(Failing.calls))})


class Collapsed(Evaluation):
    """Has no number before its `until`-th call; the dry run takes one."""

    def __init__(self, until: int, evaluate_on: str = "valid") -> None:
        super().__init__(evaluate_on)
        self.until, self.calls = until, 0

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        self.calls += 1
        if self.calls == 3:  # a NaN
            return LogEntry(self.evaluate_on, {"": Scalar(float("nan"))})
        if self.calls < self.until:
            raise NoNumber("all codes are equal")
        return LogEntry(self.evaluate_on, {"": Scalar(float(self.calls))})


class Scripted(Evaluation):
    """Returns the given numbers, one per call, and from then on the last."""

    def __init__(self, values: list[float], evaluate_on: str = "valid") -> None:
        super().__init__(evaluate_on)
        self.values = list(values)
        self.calls = -1  # the dry run takes one

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        value = self.values[max(0, min(self.calls, len(self.values) - 1))]
        self.calls += 1
        return LogEntry(self.evaluate_on, {"": Scalar(float(value))})


class Slow(Evaluation):
    """Takes its time: `seconds`, or those of the environment's SLOW."""

    def __init__(self, seconds: float, evaluate_on: str = "valid") -> None:
        super().__init__(evaluate_on)
        self.seconds = seconds

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        print("measuring", flush=True)
        time.sleep(float(os.environ.get("SLOW", self.seconds)))
        return LogEntry(self.evaluate_on, {"": Scalar(self.seconds)})


class SlowChunks(Evaluation):
    """The mean of 'train' in 16 chunks, and SLOW seconds for each in a second call (the dry run takes the first)."""

    def __init__(self, evaluate_on: str = "train") -> None:
        super().__init__(evaluate_on)
        self.calls = 0

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        self.calls += 1
        found = self.over_rows(model, data, None, self.means, batch_size=64)["mean"]
        return LogEntry(self.evaluate_on, {"": Scalar(found.mean().item())})

    def means(self, batch: Batch) -> dict[str, Tensor]:
        if self.calls > 1:
            print("measuring", flush=True)
            time.sleep(float(os.environ.get("SLOW", "0")))
        return {"mean": batch["x"].flatten(1).mean(1)}


class Named(VAE):
    """A VAE with another loss, of any name, which appears after some batches."""

    def __init__(self, extra: str, after: int = 0, **networks: Any) -> None:
        super().__init__(**networks)
        self.extra, self.after, self.calls = extra, after, 0

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        losses = super().compute_loss(batch)
        return losses | {self.extra: torch.tensor(7.0)} if self.calls > self.after else losses


class FailsOnRank(Evaluation):
    """The mean of all rows, by `over_rows`; from a call on, it fails on rank 1. The dry run takes a call.

    Args:
        from_call: number of the first call that fails.
        inside: fail while rows are computed, and not before.
        without: raise NoNumber.
        encodes: compute with the model after that.
    """

    def __init__(
        self,
        from_call: int = 4,
        inside: bool = False,
        without: bool = False,
        evaluate_on: str = "train",
        encodes: bool = False,
    ) -> None:
        super().__init__(evaluate_on)
        self.encodes = encodes
        self.from_call, self.inside, self.without, self.calls = from_call, inside, without, 0

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        self.calls += 1
        if not self.inside:
            self.fail()
        found = self.over_rows(model, data, None, lambda batch: self.means(model, batch))["mean"]
        return LogEntry(self.evaluate_on, {"": Scalar(found.mean().item())})

    def means(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if self.inside:
            self.fail()
        if self.encodes:
            model.encode(batch["x"])  # type: ignore[operator]
        return {"mean": batch["x"].flatten(1).mean(1)}

    def fail(self) -> None:
        if self.calls >= self.from_call and os.environ.get("LOCAL_RANK") == "1":
            raise NoNumber("rank 1 has no number") if self.without else RuntimeError("rank 1 fails on purpose")


class Normed(nn.Sequential):
    """A layer with torch's batch norm, whose running statistics are each rank's own."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU())
        self.n_out = n_out
