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
    """Runs each cell as a SLURM job, by submitit; `submitit_local` does the same on this machine."""

    def __init__(
        self, argv: Sequence[str], cluster: str, options: Mapping[str, str], folder: Path, worker: Path
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError(
                "launcher=submitit needs the package submitit: pip install 'frame-representations[slurm]'"
            ) from None
        self.argv, self.worker, self.is_local = list(argv), worker, cluster == "local"
        (folder / "slurm").mkdir(parents=True, exist_ok=True)
        try:
            self.executor = submitit.AutoExecutor(folder=folder / "slurm", cluster=cluster)
            self.executor.update_parameters(**{key: _number(value) for key, value in options.items()})
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise UserError(f"launcher=submitit: {str(error).strip().splitlines()[0]}") from None

    def prepare(self) -> None: ...

    def launch(self, words: Sequence[str], log: Path) -> Handle:
        given = ([*self.argv, *words], str(Path.cwd()), str(log), str(self.worker), self.is_local)
        with not_for_children():
            job = self.executor.submit(run_here, *given)

        def poll() -> int | None:
            if not job.done():
                return None
            error = job.exception()
            if error is None:
                return int(job.result())
            with log.open("a") as stream:
                stream.write(f"{job.state}: {str(error).strip().splitlines()[-1]}\n")
            return -signal.SIGKILL  # timed out, preempted, or the node was lost: it is resumed later

        # submitit would end the run within a second, which is too short to save
        return Started(poll, lambda: os.kill(int(job.job_id), signal.SIGTERM) if self.is_local else job.cancel())

    def close(self) -> None: ...


class Ray:
    """Runs each cell as a task of the Ray cluster that RAY_ADDRESS names, or of one on this machine."""

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
