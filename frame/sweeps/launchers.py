"""Starts cells: here, on a SLURM cluster or on a Ray cluster. Each cell is a process of its own."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, parent_process, resource_tracker
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from omegaconf import DictConfig

from frame.common.errors import UserError, choices
from frame.runs.provenance import own_sources
from frame.sweeps.clusters import Ray, Submitit
from frame.sweeps.handles import TERMINAL, Handle, Started, not_for_children
from frame.sweeps.workers import holding

LAUNCHERS = ("local", "submitit", "submitit_local", "ray")
PRELOADED = ["frame.engine.experiment"]
Train = Callable[[Sequence[str]], int]
# `frame train` for each of some words, with its log, in one process; a function is told each exit code
TrainStack = Callable[[Sequence[tuple[Sequence[str], IO[str]]], Callable[[int, int], None], bool], None]
ALONE = 75  # exit code of a member of a stack that must be trained in a process of its own; it has no folder yet
UNKNOWN = -1000  # the exit code of a member that runs


@dataclass(frozen=True)
class Trains:
    """How a forked process trains.

    Args:
        one: `frame train`; returns the exit code.
        stack: the same for the members of a stack.
    """

    one: Train
    stack: TrainStack


class Launcher(Protocol):
    comes_back: bool  # whether runs that something else has ended are started again by the same command

    def prepare(self) -> None:
        """Preparation before the first launch, which may take seconds and may be interrupted."""
        ...

    def launch(self, words: Sequence[str], log: Path) -> Handle:
        """Starts `frame train` with these words; its output is appended to `log`."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Stacks(Protocol):
    """A launcher that can train several cells in one process."""

    def launch_stack(self, cells: Sequence[tuple[Sequence[str], Path]], if_quicker: bool) -> list[Handle]:
        """Starts cells as members of a stack, each with its words and its log.

        Args:
            if_quicker: whether a stack that is not quicker than its members one after another is given up.
        """
        ...


def make_launcher(
    name: str,
    options: Mapping[str, str],
    *,
    jobs: int,
    program: str,
    folder: Path,
    worker: Path,
    trains: Trains | None,
    ranks: tuple[int, int] = (1, 1),
) -> Launcher:
    """The launcher of that name.

    Args:
        name: one of LAUNCHERS.
        options: the launcher's options, as typed: SLURM's `timeout_min`, `slurm_partition`; Ray's `num_cpus`.
        jobs: number of cells that run at a time.
        program: the sweep file's program.
        folder: the folder for the launcher's files.
        worker: this worker's sign of life; without it, a job that waited in a queue does not start.
        trains: `frame train` in processes that are forked from one that has torch loaded. None if a cell needs a fresh
            process.
        ranks: nodes of a run and processes on each, see `ranks_of`.

    Raises:
        UserError: the launcher is unknown, or its package is not installed.
    """
    if name not in LAUNCHERS:
        raise UserError(choices(name, LAUNCHERS, kind="launcher"))
    if name == "local":
        if options:
            raise UserError(f"launcher.{next(iter(options))}: launcher=local takes no options")
        threads = max(1, (os.cpu_count() or 1) // jobs)
        fresh = Processes(command(program), threads)
        return Forks(threads, fresh, trains) if trains is not None and _is_ours(program) else fresh
    if name == "ray":
        return Ray(command(program), options, worker)
    cluster = "local" if name == "submitit_local" else "slurm"
    return Submitit(command(program), cluster, options, folder, worker, ranks)


def ranks_of(config: DictConfig, options: Mapping[str, str]) -> tuple[int, int]:
    """The nodes of a run, and the processes on each: by `trainer.devices`, `device.gpus` or the launcher's options.

    Raises:
        UserError: a run on several nodes does not say how many processes each has.
    """
    trainer = config.get("trainer") or {}
    nodes, devices = int(trainer.get("num_nodes") or 1), trainer.get("devices", config.device.get("gpus"))
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        devices = len(devices)
    if not str(devices).isdigit():
        devices = options.get("gpus_per_node", options.get("slurm_gpus_per_node"))
    if nodes > 1 and not str(devices).isdigit():
        raise UserError("a run on several nodes needs the number of processes on each of them: +trainer.devices=4")
    return nodes, max(1, int(devices)) if str(devices).isdigit() else 1


def is_one_process(config: DictConfig) -> bool:
    """Whether a cell is one process, without further ranks."""
    trainer = config.get("trainer") or {}
    gpus = config.device.get("gpus")
    devices = trainer.get("devices", gpus if gpus is not None else 1)
    one_node = trainer.get("num_nodes") in (None, 1)
    return one_node and devices in (None, 0, 1, "1", "auto") and str(trainer.get("strategy")) in ("None", "auto")


def _is_ours(program: str) -> bool:
    """Whether the program is equivalent to `frame train`."""
    ours = Path(__file__).parents[2] / "train.py"
    return Path(program).name == "train.py" and (
        not Path(program).is_file() or ours.is_file() and Path(program).read_bytes() == ours.read_bytes()
    )


def command(program: str) -> list[str]:
    """The words that start a run: the sweep file's program if it exists here, else `frame train`."""
    if Path(program).is_file():
        return [sys.executable, str(Path(program).resolve())]
    beside = Path(sys.executable).parent / "frame"
    if Path(program).name != "train.py":
        raise UserError(f"program: there is no {program} in {Path.cwd()}")
    return [sys.executable, str(beside), "train"]


class Processes:
    """A fresh interpreter for each cell."""

    comes_back = False

    def __init__(self, argv: Sequence[str], threads: int) -> None:
        self.argv = list(argv)
        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}

    def prepare(self) -> None: ...

    def launch(self, words: Sequence[str], log: Path) -> Handle:
        with holding(log) as stream:
            # its own process group, so that Ctrl-C reaches it only through this process
            process = subprocess.Popen(
                [*self.argv, *words], stdout=stream, stderr=stream, env=self.environment, start_new_session=True
            )
        return Started(process.poll, process.terminate)

    def close(self) -> None: ...


class Forks:
    """Forks cells from one process that has torch and Lightning loaded, which saves seconds per cell.

    If frame's files have changed since it loaded them, the next cells are `fresh` processes.
    """

    comes_back = False

    def __init__(self, threads: int, fresh: Launcher, trains: Trains) -> None:
        self.fresh, self.trains, self.loaded = fresh, trains, own_sources()
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        self.ready = False

    def prepare(self) -> None:
        """Starts the process and waits until it has loaded. Neither it nor its forks get the terminal's Ctrl-C."""
        if self.ready:
            return
        resource_tracker.ensure_running()  # first, because it resets the signal mask
        with not_for_children():
            forkserver.ensure_running()
        first = self.context.Process(target=_nothing)
        first.start()
        first.join()
        self.ready = True

    def launch(self, words: Sequence[str], log: Path) -> Handle:
        if own_sources() != self.loaded:
            return self.fresh.launch(words, log)
        process = self.context.Process(
            target=_train, args=(self.trains.one, list(words), str(Path.cwd()), str(log), sys.argv[0])
        )
        process.start()

        def poll() -> int | None:
            process.join(0)
            return process.exitcode

        return Started(poll, process.terminate)

    def launch_stack(self, cells: Sequence[tuple[Sequence[str], Path]], if_quicker: bool) -> list[Handle]:
        if own_sources() != self.loaded:
            return [self.fresh.launch(words, log) for words, log in cells]
        codes = self.context.Array("i", [UNKNOWN] * len(cells), lock=False)
        given = [(list(words), str(log)) for words, log in cells]
        process = self.context.Process(
            target=_train_stack, args=(self.trains.stack, given, codes, if_quicker, str(Path.cwd()), sys.argv[0])
        )
        process.start()

        def poll(member: int) -> int | None:
            process.join(0)
            if codes[member] != UNKNOWN:
                return int(codes[member])
            return process.exitcode or (1 if process.exitcode == 0 else None)

        return [Started(partial(poll, member), process.terminate) for member in range(len(cells))]

    def close(self) -> None: ...


def _nothing() -> None: ...


def _train(train: Train, words: list[str], cwd: str, log: str, program: str) -> None:
    stream = _started(cwd, [log])[0]
    if stream is None:
        return
    for standard in (1, 2):
        os.dup2(stream.fileno(), standard)
    sys.argv = [program, *words]
    code = train(words)
    sys.stdout.flush()
    sys.exit(code)


def _train_stack(
    train: TrainStack, cells: list[tuple[list[str], str]], codes: Any, if_quicker: bool, cwd: str, program: str
) -> None:
    streams = _started(cwd, [log for _, log in cells])
    if None in streams:
        return
    for standard in (1, 2):  # of libraries; what members print goes to their own logs
        os.dup2(streams[0].fileno(), standard)
    sys.argv = [program]
    train([(words, stream) for (words, _), stream in zip(cells, streams, strict=True)], codes.__setitem__, if_quicker)
    sys.exit(0)


def _started(cwd: str, logs: Sequence[str]) -> list[Any]:
    """Makes a forked process one of its own; returns streams of its logs, or [None] if its worker is gone."""
    os.setsid()
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # drops a SIGHUP of the terminal
    signal.signal(signal.SIGHUP, hangup)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL)
    streams = [holding(Path(log)) for log in logs]
    worker = parent_process()
    if worker is None or not worker.is_alive():  # it was just killed: other workers take the cells
        return [None]
    os.chdir(cwd)
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return streams
