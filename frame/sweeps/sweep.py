"""`frame sweep`: claims, runs and settles the cells of a study. Several workers may share its folder."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean as mean

from omegaconf import DictConfig

from frame.common import selection
from frame.common.errors import UserError
from frame.common.files import write_text
from frame.common.interrupts import Interrupts
from frame.common.numbers import counted
from frame.common.shell import pasted
from frame.composition.stored import resolved
from frame.composition.words import typed
from frame.runs.folder import RunFolder
from frame.runs.provenance import fingerprints
from frame.sweeps.cells import DONE, Cell, Study
from frame.sweeps.changes import changed
from frame.sweeps.goal import first_config, on_test
from frame.sweeps.launchers import (
    ALONE,
    Handle,
    Launcher,
    Stacks,
    Trains,
    is_one_process,
    make_launcher,
    ranks_of,
)
from frame.sweeps.progress import StatusLine, best, duration, last, last_line, percent, values
from frame.sweeps.sweep_file import SweepFile, load

RETURNS = 3  # of a cell that a cluster ends again and again, without an iteration more
STACKED = 16  # members of a stack at most, for stack=auto


@dataclass(frozen=True)
class Options:
    """The options of `frame sweep`.

    Args:
        seeds: the seeds of each point; if empty, the config's own seed.
        jobs: processes that this worker runs at a time.
        stack: cells that a process trains together; 'auto': up to 16, if that is quicker.
        run_cap: replaces the file's run_cap.
        folder: the study's folder; None: studies/<file's name> in `device.experiments_root`.
        launcher: local, submitit, submitit_local or ray.
        launcher_options: options of submitit or ray.
        retry: whether failed cells are tried again.
        again: whether finished cells are run again if their code or config has changed.
        overrides: words that are added to those of each cell.
        config_dir: the user's own config folder, if one was named.
    """

    seeds: tuple[int, ...] = ()
    jobs: int = 1
    stack: int | str = 1
    run_cap: int | None = None
    folder: Path | None = None
    launcher: str = "local"
    launcher_options: Mapping[str, str] = field(default_factory=dict)
    retry: bool = False
    again: bool = False
    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None


def sweep(file: Path, options: Options, trains: Trains) -> int:
    """Runs the missing cells of a study; returns the exit code, 1 if cells failed. See `opened`."""
    with opened(file, options, trains) as worker:
        return worker.run()


@contextmanager
def opened(file: Path, options: Options, trains: Trains | None = None) -> Iterator["Sweep"]:
    """A worker for a study's missing cells.

    Args:
        file: the sweep file, or the folder of a study to continue.
        trains: `frame train` in forked processes. None starts a fresh process for each cell,
            which does not import the caller's script.

    Raises:
        UserError: the file, the options or the config of a cell is wrong.
    """
    source = file / "sweep.yaml" if file.is_dir() else file
    described = load(source)
    if options.run_cap is not None:
        described = SweepFile(**{**vars(described), "run_cap": options.run_cap})
    described.check_size(len(options.seeds) or 1)
    config = first_config(described, options.overrides, options.seeds)
    folder = options.folder or (
        file if file.is_dir() else Path(str(config.device.experiments_root)) / "studies" / source.stem
    )
    study = Study(folder.expanduser().resolve(), described, options.seeds or (None,))
    with closing(study.worker):
        if source.resolve() != study.folder / "sweep.yaml":
            write_text(study.folder / "sweep.yaml", source.read_text())
        launcher = make_launcher(
            options.launcher,
            options.launcher_options,
            jobs=options.jobs,
            program=described.program,
            folder=study.folder,
            worker=study.worker.file,
            trains=trains if is_one_process(config) else None,
            ranks=ranks_of(config, options.launcher_options),
        )
        check_stack(options, described, launcher)
        with closing(launcher):
            yield Sweep(study, launcher, options, config)


def check_stack(options: Options, described: SweepFile, launcher: Launcher) -> None:
    """Raises UserError if cells are to be stacked and cannot be."""
    if options.stack == 1:
        return
    if not isinstance(launcher, Stacks):
        raise UserError(
            "stack= needs the command frame sweep on this machine, frame's own train.py, and runs of one process each"
        )
    if described.early_terminate is not None:
        raise UserError(
            "stack= and early_terminate: members of a stack train together and cannot be ended one by one: "
            "leave one of them out"
        )


@dataclass
class Running:
    """A cell that this worker runs."""

    cell: Cell
    claim: int
    handle: Handle
    since: float
    process: object = None  # which process this is, the same for all members of a stack
    judged: int = 0  # the last rung at which it was judged
    early: str = ""  # why it was ended early


class Sweep:
    """One worker's share of a study."""

    def __init__(self, study: Study, launcher: Launcher, options: Options, config: DictConfig) -> None:
        self.study, self.launcher, self.options = study, launcher, options
        self.sweep, self.logs = study.sweep, study.logs
        self.logs.mkdir(exist_ok=True)
        self.interrupts = Interrupts()
        self.running: list[Running] = []
        self.alone: set[str] = set()  # cells that cannot be part of a stack
        self.given_up: dict[str, str] = {}  # cells that failed in this command, with the reasons
        self.back: dict[str, tuple[int, int]] = {}  # iterations at the last return of a cell, and returns without more
        self.took: list[float] = []
        self.line = StatusLine()
        self.next_claim = 0.0
        self.retry = self._retried(config)
        self.allow_test = bool(config.get(selection.ALLOW))
        self.chosen_on_test = bool(self.sweep.metric and on_test([config], self.sweep.metric))

    def run(self) -> int:
        print(f"study {self.study.folder}", flush=True)
        if not self.study.exhausted() and self.sweep.run_cap is None:
            print("  no run_cap: it continues until Ctrl-C; run_cap=20 ends it after 20 points", flush=True)
        with self.interrupts:
            try:
                while self._step():
                    time.sleep(0.3)
            except KeyboardInterrupt:
                self._stop()
                print("frame: stopped; the same command continues from here", file=sys.stderr)
                return 130
            except UserError:  # the metric is measured on test
                self._stop()
                raise
        self.line.clear()
        return self._last_words()

    def _step(self) -> bool:
        """Settles, judges and starts cells; False if nothing is left to do."""
        for one in list(self.running):
            code = one.handle.poll()
            if code is not None:
                with self.interrupts.held():
                    self.running.remove(one)
                    self._settle(one, code)
            elif self.sweep.early_terminate is not None:
                self._judge(one)
        while len({id(one.process) for one in self.running}) < self.options.jobs and self._may_claim():
            with self.interrupts.held():
                claimed = self._claim()
            if not claimed:
                self.next_claim = time.monotonic() + 2  # spares a shared folder
                continue
            self.launcher.prepare()
            with self.interrupts.held():
                self._start(claimed)
        self.line.show(self._progress)
        if self.running or time.monotonic() >= self.next_claim:
            return True
        others = [cell for cell in self.study.cells() if self.study.state(cell) == "running"]
        if others:
            time.sleep(1)  # other workers run the rest; if one dies, its cells become free
        return bool(others)

    def _may_claim(self) -> bool:
        return time.monotonic() >= self.next_claim

    def _claim(self) -> list[tuple[Cell, int]]:
        """Cells for one process, with their claims; none if there is nothing to claim."""
        most = STACKED if self.options.stack == "auto" else int(self.options.stack)
        claimed: list[tuple[Cell, int]] = []
        while len(claimed) < most:
            found = self.study.claim(self.retry, self.given_up)
            if found is None:
                break
            if found[0].name in self.alone:
                if claimed:  # it waits for the next process
                    self.study.tell(found[1], None)
                    return claimed
                return [found]
            claimed.append(found)
        return claimed

    def _start(self, claimed: Sequence[tuple[Cell, int]]) -> None:
        """Starts cells in one process."""
        cells = [self._words(cell) for cell, _ in claimed]
        if len(cells) == 1 or not isinstance(self.launcher, Stacks):
            handles = [self.launcher.launch(*cells[0])]
        else:
            handles = self.launcher.launch_stack(cells, self.options.stack == "auto")
        process = object()
        for (cell, claim), handle in zip(claimed, handles, strict=True):
            self.running.append(Running(cell, claim, handle, time.monotonic(), process))

    def _words(self, cell: Cell) -> tuple[list[str], Path]:
        """The words that train a cell, and its log."""
        again = self.retry.pop(cell.name, None) is not None
        run = self.study.run(cell)
        # a run without a checkpoint starts again in its own folder
        words = [f"resume={run.path}"] if run is not None and not again else self._overrides(cell)
        (log := self.logs / f"{cell.name}.log").touch()
        own = [f"--config-dir={self.options.config_dir.resolve()}"] if self.options.config_dir else []
        return [*words, *own], log

    def _overrides(self, cell: Cell) -> list[str]:
        seed = [] if cell.seed is None else [f"seed={cell.seed}"]
        place = [
            f"experiment_name={typed(cell.name)}",
            f"device.experiments_root={typed(str(self.study.folder / 'runs'))}",
        ]
        return [*self.sweep.overrides(dict(cell.point)), *self.options.overrides, *seed, *place]

    def _values(self, run: RunFolder) -> list[float]:
        return values(run, self.sweep.metric, self.allow_test)

    def _settle(self, one: Running, code: int) -> None:
        """Records how a cell ended."""
        cell, run = one.cell, self.study.run(one.cell)
        if code == ALONE:
            self.alone.add(cell.name)
            self.study.tell(one.claim, None)
            self.line.say(f"  {cell.name}  {last_line(self.logs / f'{cell.name}.log')}")
            return
        if run is not None and one.early and code in (128 + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL):
            run.set_status("ended early", reason=one.early)
        if run is not None and run.standing.get("state") in DONE:
            self.took.append(time.monotonic() - one.since)
            value = last(self._values(run))
            self.study.tell(one.claim, value)
            shown = "" if value is None else f"  {self.sweep.metric} {value:.5g}"
            self.line.say(f"  {cell.name}{shown}  {one.early or f'{self.took[-1]:.0f} s'}")
            return
        ended_by_signal = code < 0 or code in (128 + number for number in Interrupts.NUMBERS)
        # the status is 'running' if even the status could not be written
        unsaved = code == 1 and run is not None and run.standing.get("state") in ("stopped", "running")
        goes_on = ended_by_signal or unsaved
        if ended_by_signal and self._comes_back(cell, code, run):
            self.study.tell(one.claim, None)
            self.line.say(f"  {cell.name}  was ended ({signal.Signals(abs(code) % 128).name}) and goes on")
            return
        reason = last_line(self.logs / f"{cell.name}.log") or f"exit code {code}"
        if ended_by_signal:
            reason = f"was killed ({signal.Signals(abs(code) % 128).name}); the same command resumes it"
        self.given_up[cell.name] = reason
        self.study.tell(one.claim, None, failed="" if goes_on else reason)
        self.line.say(f"  {cell.name}  {'' if goes_on else 'failed: '}{reason}")

    def _comes_back(self, cell: Cell, code: int, run: RunFolder | None) -> bool:
        """Whether a cell that the cluster ended is started again: unless it was ended three times at one iteration."""
        if not self.launcher.comes_back or abs(code) % 128 == signal.SIGINT:
            return False
        done = int(run.standing.get("counters", {}).get("iterations", 0)) if run is not None else 0
        before, times = self.back.get(cell.name, (-1, 0))
        self.back[cell.name] = done, times + 1 if done <= before else 0
        return self.back[cell.name][1] < RETURNS

    def _judge(self, one: Running) -> None:
        """Ends a run that is not among the best; see `Hyperband`."""
        rule, run = self.sweep.early_terminate, self.study.run(one.cell)
        if rule is None or run is None or one.early:
            return
        measured = self._values(run)
        reached = sum(rung <= len(measured) for rung in rule.rungs)
        if reached <= one.judged:
            return
        one.judged = reached
        others = [self.study.run(cell) for cell in self.study.cells() if cell != one.cell]
        theirs = [self._values(other) for other in others if other is not None]
        rung = rule.ends(measured, theirs, self.sweep.maximize)
        if rung is not None:
            one.early = f"ended early by Hyperband after {rung} measurements"
            one.handle.stop()

    def _stop(self) -> None:
        """Ends the runs, which save first, and gives their cells back."""
        self.line.say(f"  stopping {counted(len(self.running), 'runs')}, saved first")
        for one in self.running:
            one.handle.stop()
        until = time.monotonic() + 60
        while self.running and time.monotonic() < until:
            for one in list(self.running):
                if one.handle.poll() is not None:
                    self.running.remove(one)
                    self.study.tell(one.claim, None)
            time.sleep(0.1)

    def _retried(self, config: DictConfig) -> dict[str, str]:
        """Cells to run again although a run failed or finished, with that run. Prints the changes."""
        failed: dict[str, str] = {}
        different: dict[str, str] = {}
        runs: dict[str, str] = {}
        today = fingerprints(resolved(config))
        for cell in self.study.cells():
            state, run = self.study.state(cell), self.study.run(cell)
            runs[cell.name] = run.path.name if run is not None else ""
            if state == "failed":
                failed[cell.name] = "failed before"
            elif state in DONE and run is not None and (what := changed(run, self._overrides(cell), today)):
                different[cell.name] = what
        if different:
            kept = "" if self.options.again else ", and are kept; again=true runs them again"
            print(f"{len(different)} finished runs would differ today{kept}:")
            for what in dict.fromkeys(different.values()):
                named = [name for name, found in different.items() if found == what]
                print(f"  {named[0]}" + (f" and {len(named) - 1} more" if len(named) > 1 else "") + f": {what}")
        if failed and not self.options.retry:
            print(f"{len(failed)} failed before; retry=true tries them again")
            self.given_up |= failed
        retried = [*(failed if self.options.retry else ()), *(different if self.options.again else ())]
        return {name: runs[name] for name in retried}

    def _progress(self) -> str:
        states = [self.study.state(cell) for cell in self.study.cells()]
        done = sum(state in DONE for state in states)
        total = len(states)
        if not self.study.exhausted():
            cap = self.sweep.run_cap
            total = cap * len(self.study.seeds) if cap is not None else 0
        words = [f"{done}/{total}" if total else f"{done} done", f"{states.count('running')} running"]
        if self.given_up:
            words.append(f"{len(self.given_up)} failed")
        if self.took and total:
            left = (total - done - len(self.given_up)) * mean(self.took) / max(1, states.count("running"))
            words.append(f"about {duration(left)} left")
        found = best(self.study, self.allow_test)
        if found is not None:
            words.append(f"best {found[1]:.5g} ({found[0]})")
        words += [f"{one.cell.name} {percent(self.logs / f'{one.cell.name}.log')}" for one in self.running]
        return " · ".join(words)

    def _last_words(self) -> int:
        states = [self.study.state(cell) for cell in self.study.cells()]
        early = states.count("ended early")
        print(
            f"\n{states.count('finished')} of {len(states)} runs finished" + (f", {early} ended early" if early else "")
        )
        for name, reason in self.given_up.items():
            print(f"failed   {name}: {reason}" + ("" if reason == "failed before" else f" ({self.logs / name}.log)"))
        found = best(self.study, self.allow_test)
        if found is not None:
            over = f", mean of {found[2]} seeds" if found[2] > 1 else ""
            by = ", chosen on test" if self.chosen_on_test else ""
            print(f"best     {self.sweep.metric} {found[1]:.5g}{over}{by}: {found[0]}")
        print(f"runs     frame list {pasted(self.study.folder)}")
        return 1 if self.given_up else 0
