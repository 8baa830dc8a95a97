"""Runs of `frame` in processes of their own, forked from a parent that has imported everything."""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OWN = Path(__file__).parent / "own"  # a user's own folder
context = multiprocessing.get_context("forkserver")
# what nearly every run imports and reads
context.set_forkserver_preload(
    ["frame.engine.experiment", "frame.architectures.base", "frame.models.VAE", "sklearn.datasets", "optuna"]
    + [f"frame.commands.{name}" for name in ("main", "train", "sweep", "evaluate")]
    + ["frame.data.digits", "frame.optimization.batch", "frame.evaluation.elbo", "tests.warm"]
)


def _main(words: list[str], cwd: str, output: str, environment: dict[str, str], first: str) -> None:
    with open(output, "w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = ["frame", *words]
    # started as in a command of its own; a fork server for its workers would import everything again
    multiprocessing.set_start_method(None, force=True)
    # signals may be ignored where the tests run: in the background, or behind nohup
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    import torch

    from frame.commands.main import main

    torch.set_num_threads(1)  # networks this small are slower with two threads
    exec(first)
    code = main(words)
    sys.stdout.flush()
    sys.exit(code)


class Process:
    """A running `frame` command in `cwd`; its output goes to a file, or to `into`.

    `first` is Python code that runs in the process before the command.
    """

    count = 0

    def __init__(self, words: Sequence[str], cwd: Path, into: str = "", first: str = "", **environment: str) -> None:
        Process.count += 1
        self.output_file = Path(into) if into else cwd / f"output-{os.getpid()}-{Process.count}.txt"
        arguments: Any = (list(words), str(cwd), str(self.output_file), environment, first)
        self.process = context.Process(target=_main, args=arguments)
        self.process.start()

    def wait(self, seconds: float = 120) -> int:
        """The exit code, or minus the signal's number if a signal ended it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"still running after {seconds} s:\n{self.output}")
        return self.process.exitcode

    @property
    def output(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.output_file.read_text()
        return ""


def train(words: Sequence[str], cwd: Path, **environment: str) -> tuple[int, str]:
    """`frame train WORDS` in `cwd`, with the tests' own folder as the user's; exit code and output."""
    process = Process(["train", "--config-dir", str(OWN / "config"), *words], cwd, **environment)
    code = process.wait()
    return code, process.output


@dataclass
class Done:
    """The result of a process, with the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def _python(code: str, cwd: str, files: tuple[str, str], path: list[str], environment: dict[str, str]) -> None:
    for number, file in enumerate(files, 1):
        with open(file, "w") as stream:
            os.dup2(stream.fileno(), number)
    os.chdir(cwd)
    os.environ.update(environment)
    sys.path[:0] = ["", *path]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def python(code: str, cwd: Path, path: Sequence[Path] = (), **environment: str) -> Done:
    """`python -c CODE` in `cwd` with `path` as PYTHONPATH, for code that may find torch imported already."""
    with tempfile.TemporaryDirectory() as folder:
        files = (f"{folder}/stdout", f"{folder}/stderr")
        arguments: Any = (code, str(cwd), files, [str(place) for place in path], environment)
        process = context.Process(target=_python, args=arguments)
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"still running after 120 s: {code}")
        return Done(process.exitcode, *(Path(file).read_text() for file in files))


def only_run(cwd: Path) -> Path:
    """The one run's folder below `cwd`/runs."""
    (config,) = (cwd / "runs").glob("*/*/config.yaml")
    return config.parent


@contextlib.contextmanager
def files_no_larger_than(n_bytes: int) -> Iterator[None]:
    """Limits the size of files, as a full disk does: the kernel writes what fits and refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
