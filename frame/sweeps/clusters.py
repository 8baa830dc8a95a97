"""Runs cells on a SLURM or Ray cluster. Their packages are imported only if they are asked for."""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.sweeps.handles import Handle, Started, not_for_children, run_here


class Submitit:
    """Runs each cell as a SLURM job, by submitit; `submitit_local` does the same on this machine.

    A cell of several processes is a job of as many tasks, each of which is a rank. A job that was preempted, timed out
    or lost a node saves if it is told in time, and its cell goes on in a new job.

    Args:
        ranks: nodes of a cell and processes on each. On this machine all of them are tasks of one node.
    """

    comes_back = True

    def __init__(
        self,
        argv: Sequence[str],
        cluster: str,
        options: Mapping[str, str],
        folder: Path,
        worker: Path,
        ranks: tuple[int, int] = (1, 1),
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError(
                "launcher=submitit needs the package submitit: pip install 'frame-representations[slurm]'"
            ) from None
        self.argv, self.worker, self.is_local = list(argv), worker, cluster == "local"
        (folder / "slurm").mkdir(parents=True, exist_ok=True)
        nodes, self.per_node = ranks
        self.tasks = nodes * self.per_node
        asked: dict[str, Any] = {"tasks_per_node": self.tasks}
        if not self.is_local:  # the worker submits it again; SLURM would start it from the beginning
            asked = {"nodes": nodes, "tasks_per_node": self.per_node}
            asked["slurm_additional_parameters"] = {"no-requeue": True}
        asked |= {key: _number(value) for key, value in options.items()}
        try:
            self.executor = submitit.AutoExecutor(folder=folder / "slurm", cluster=cluster)
            self.executor.update_parameters(**asked)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise UserError(f"launcher=submitit: {str(error).strip().splitlines()[0]}") from None

    def prepare(self) -> None: ...

    def launch(self, words: Sequence[str], log: Path) -> Handle:
        given = ([*self.argv, *words], str(Path.cwd()), str(log), str(self.worker), self.is_local)
        with not_for_children():
            job = self.executor.submit(run_rank, self.per_node if self.tasks > 1 else 0, *given)

        def poll() -> int | None:
            if not job.done():
                return None
            error = job.exception()
            if error is None:
                return exit_code([int(code) for code in job.results()])
            with log.open("a") as stream:
                stream.write(f"{job.state}: {str(error).strip().splitlines()[-1]}\n")
            # by the user, or timed out, preempted, or the node was lost
            return -signal.SIGINT if str(job.state).startswith("CANCELLED") else -signal.SIGKILL

        # submitit would end the run within a second, which is too short to save
        return Started(poll, lambda: os.kill(int(job.job_id), signal.SIGTERM) if self.is_local else job.cancel())

    def close(self) -> None: ...


def exit_code(codes: Sequence[int]) -> int:
    """The exit code of a run from those of its ranks: one that a signal ended, else the first that is not 0."""
    return next((code for code in codes if code < 0), next((code for code in codes if code != 0), 0))


def run_rank(per_node: int, argv: Sequence[str], cwd: str, log: str, worker: str, passes_on: bool) -> int:
    """Runs a command as a rank of a run, in a task of a job; see `run_here`.

    SIGUSR2, by which SLURM announces the end of a job's time, makes the run save and end.

    Args:
        per_node: processes on each node; 0: the run is one process.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # which the command inherits
    environment: dict[str, str] = {}
    if per_node:
        import submitit

        job = submitit.JobEnvironment()
        if job.cluster != "slurm":  # Lightning knows SLURM's own variables
            node, rank = divmod(job.global_rank, per_node)
            port = 15_000 + int(job.job_id) % 20_000
            environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(job.num_tasks)}
            environment |= {"NODE_RANK": str(node), "LOCAL_RANK": str(rank)}
    return run_here(argv, cwd, log, worker, passes_on, environment, ends=(signal.SIGUSR2,))


class Ray:
    """Runs each cell as a task of the Ray cluster that RAY_ADDRESS names, or of one on this machine."""

    comes_back = False

    def __init__(self, argv: Sequence[str], options: Mapping[str, str], worker: Path) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("launcher=ray needs the package ray: pip install 'frame-representations[ray]'") from None
        self.ray, self.argv, self.worker = ray, list(argv), worker
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
        self.task = ray.remote(**{"num_cpus": 1, "max_retries": 0, **{k: _number(v) for k, v in options.items()}})(
            run_here
        )

    def prepare(self) -> None: ...

    def launch(self, words: Sequence[str], log: Path) -> Handle:
        reference = self.task.remote([*self.argv, *words], str(Path.cwd()), str(log), str(self.worker))

        def poll() -> int | None:
            done, _ = self.ray.wait([reference], timeout=0)
            if not done:
                return None
            try:
                return int(self.ray.get(reference))
            except self.ray.exceptions.RayError as error:
                with log.open("a") as stream:
                    stream.write(f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}\n")
                return -signal.SIGKILL

        return Started(poll, lambda: self.ray.cancel(reference))

    def close(self) -> None:
        self.ray.shutdown()


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
