"""A study's folder: its points and cells, which worker runs which cell, and the results.

    sweep.yaml        the sweep file, as it was last given
    journal.log       claims of cells, and what the Bayesian sampler knows: Optuna's journal, safe in a shared folder
    runs/<cell>/      the runs of a cell, which is a point with a seed; the newest counts
    logs/<cell>.log   what a cell printed
    workers/          one file per worker, touched while it lives

Whether a cell is finished is read from its run's folder; the journal holds only the claims.
"""

import itertools
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from frame.common.errors import UserError
from frame.composition.words import typed
from frame.runs.folder import RunFolder
from frame.sweeps.sweep_file import Point, SweepFile
from frame.sweeps.workers import Lock, Worker, is_held

if TYPE_CHECKING:
    import optuna

DONE = ("finished", "ended early")


@dataclass(frozen=True)
class Cell:
    """A point with a seed; None: the config's own seed."""

    name: str
    number: int  # the point's number
    point: tuple[tuple[str, Any], ...]
    seed: int | None


class Study:
    """Points, cells and claims of one sweep in one folder.

    Args:
        folder: the study's folder; made if it does not exist.
        sweep: the sweep file's content.
        seeds: the seeds of each point's cells.

    Raises:
        UserError: the folder belongs to a study with another goal, or cannot be written.
    """

    def __init__(self, folder: Path, sweep: SweepFile, seeds: Sequence[int | None]) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.sweep, self.seeds = folder, sweep, tuple(seeds)
        self.logs = folder / "logs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.worker = Worker(folder / "workers")
            self._lock = Lock(folder / "claims.lock", self.worker)
            own: Any = Lock(folder / "journal.lock", self.worker)
            backend = JournalFileBackend(str(folder / "journal.log"), lock_obj=own)
            # the model of the search starts after more points, because it gets each seed of a point as a trial
            sampler = optuna.samplers.TPESampler(n_startup_trials=10 * len(self.seeds), seed=0, constant_liar=True)
            direction: Literal["minimize", "maximize"] = "maximize" if sweep.maximize else "minimize"
            with self.locked():
                self._optuna = optuna.create_study(
                    study_name="sweep",
                    storage=JournalStorage(backend),
                    sampler=sampler,
                    direction=direction,
                    load_if_exists=True,
                )
        except OSError as error:
            raise UserError(f"the study cannot be written to {folder} ({error.strerror}): set folder=...") from None
        if self._optuna.direction.name.lower() != direction:
            self.worker.close()
            raise UserError(
                f"the study in {folder} has the goal {self._optuna.direction.name.lower()}: set another folder=..."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One worker at a time."""
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    # Points and cells

    def cells(self) -> list[Cell]:
        """All known cells: those of the grid, or of the points drawn so far."""
        return [self._cell(number, point, seed) for number, point in self._points() for seed in self.seeds]

    def _points(self) -> Iterator[tuple[int, Point]]:
        if self.sweep.method == "grid":
            yield from enumerate(itertools.islice(self.sweep.points(), self.sweep.run_cap))
            return
        drawn = {trial.user_attrs["number"]: trial.user_attrs["point"] for trial in self.trials()}
        yield from sorted(drawn.items())

    def _cell(self, number: int, point: Point, seed: int | None) -> Cell:
        short = [f"{key.removeprefix('params.')}={_shown(value)}" for key, value in point.items()]
        words = [] if self.sweep.method == "grid" else [f"{number:03d}"]
        words += short + ([] if seed is None else [f"seed={seed}"])
        name = re.sub(r"[^\w.,=+-]+", "_", ",".join(words))
        if len(name) > 120:  # the names of folders are limited
            name = name[:100] + "-" + uuid.uuid5(uuid.NAMESPACE_OID, name).hex[:12]
        return Cell(name, number, tuple(point.items()), seed)

    def trials(self) -> list["optuna.trial.FrozenTrial"]:
        return [trial for trial in self._optuna.get_trials(deepcopy=False) if "cell" in trial.user_attrs]

    # The state of a cell

    def run(self, cell: Cell) -> RunFolder | None:
        """The newest run of a cell."""
        found = sorted(path.parent for path in (self.folder / "runs" / cell.name).glob("*/config.yaml"))
        return RunFolder(found[-1]) if found else None

    def state(self, cell: Cell) -> str:
        """finished, ended early, failed, running or waiting (as an interrupted run does)."""
        run = self.run(cell)
        state = str(run.standing.get("state", "")) if run is not None else ""
        if state in (*DONE, "failed"):
            return state
        if self._at_work(cell, run):
            return "running"
        trials = self._claims(cell)
        return (
            "failed" if trials and trials[-1].state.name == "FAIL" and "failed" in trials[-1].user_attrs else "waiting"
        )

    def _claims(self, cell: Cell) -> list["optuna.trial.FrozenTrial"]:
        return [trial for trial in self.trials() if trial.user_attrs["cell"] == cell.name]

    def _at_work(self, cell: Cell, run: RunFolder | None) -> bool:
        """Whether a cell is being run, by a living worker or by a process that has outlived its worker."""
        claims = [trial for trial in self._claims(cell) if not trial.state.is_finished()]
        if any(self.worker.lives(trial.user_attrs["worker"]) for trial in claims):
            return True
        return run is not None and run.is_locked() or is_held(self.logs / f"{cell.name}.log")

    # Claims

    def claim(self, retry: Mapping[str, str], given_up: Collection[str]) -> tuple[Cell, int] | None:
        """Claims a cell that no worker runs. Returns it with the claim's number, or None if there is none.

        Args:
            retry: cells to run again although they failed or finished, with that run.
            given_up: cells that are not tried again.
        """
        with self.locked():
            self._bury()
            for cell in self.cells():
                state, run = self.state(cell), self.run(cell)
                # another worker may have run it again meanwhile
                again = retry.get(cell.name) == (run.path.name if run is not None else "")
                if state == "waiting" and cell.name not in given_up:
                    return cell, self._mark(cell)
                # a worker that runs it again may not have made its folder yet
                if state != "running" and again and not self._at_work(cell, run):
                    return cell, self._mark(cell)
            return self._next()

    def _mark(self, cell: Cell, trial: "optuna.trial.Trial | None" = None) -> int:
        if trial is None:
            first = next((t for t in self.trials() if t.user_attrs["number"] == cell.number and t.params), None)
            if self.sweep.method == "bayes" and first is not None:
                self._optuna.enqueue_trial(dict(first.params))
            trial = self._optuna.ask(dict(first.distributions) if first is not None else {})
        for key, value in (
            ("number", cell.number),
            ("point", dict(cell.point)),
            ("worker", self.worker.name),
            ("cell", cell.name),  # written last: a trial that has it is complete
        ):
            trial.set_user_attr(key, value)
        return trial.number

    def _next(self) -> tuple[Cell, int] | None:
        """The first cell of a new point; None if no further point is drawn."""
        if self.sweep.method == "grid" or self.exhausted():
            return None
        number = 1 + max((trial.user_attrs["number"] for trial in self.trials()), default=-1)
        if self.sweep.method == "random":
            point = self.sweep.point(number)
            cell = self._cell(number, point, self.seeds[0])
            return cell, self._mark(cell)
        trial = self._optuna.ask()
        point = {}
        for key, of in self.sweep.parameters.items():
            if of.values is not None and len(of.values) <= 20:
                point[key] = of.values[trial.suggest_categorical(key, range(len(of.values)))]
            else:  # in [0, 1), where the distribution is uniform
                point[key] = of.at(min(trial.suggest_float(key, 0.0, 1.0), 1 - 1e-9))
        cell = self._cell(number, point, self.seeds[0])
        return cell, self._mark(cell, trial)

    def exhausted(self) -> bool:
        """Whether no further point is drawn, because the cap or the target is reached."""
        if self.sweep.method == "grid":
            return True
        points = {trial.user_attrs["number"] for trial in self.trials()}
        if self.sweep.run_cap is not None and len(points) >= self.sweep.run_cap:
            return True
        sign, target = (1 if self.sweep.maximize else -1), self.sweep.target
        return target is not None and any(
            trial.values and sign * trial.values[0] >= sign * target for trial in self.trials()
        )

    def _bury(self) -> None:
        """Ends the claims of dead workers, so that their cells wait again."""
        for trial in self._optuna.get_trials(deepcopy=False):
            worker = trial.user_attrs.get("worker")
            if not trial.state.is_finished() and (worker is None or not self.worker.lives(worker)):
                if trial.state.name == "RUNNING":  # waiting trials were queued by us, inside the lock
                    self.tell(trial.number, None)

    def tell(self, claim: int, value: float | None, failed: str = "") -> None:
        """Ends a claim with the metric's value, or without one.

        Args:
            claim: the claim's number.
            value: the metric's value; None if there is none.
            failed: why the cell failed; '' if it did not.
        """
        import optuna

        trials = {trial.number: trial for trial in self._optuna.get_trials(deepcopy=False)}
        if trials[claim].state.is_finished():
            return
        if failed:
            self._optuna._storage.set_trial_user_attr(trials[claim]._trial_id, "failed", failed)
        if value is None or value != value:
            self._optuna.tell(claim, state=optuna.trial.TrialState.FAIL)
        else:
            self._optuna.tell(claim, value)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > 8 else typed(value)
