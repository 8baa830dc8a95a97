"""Shows a run in Weights & Biases. Needs no account, and never stops a run or delays it for long."""

import os
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from frame.loggers.base import RunLogger

CONNECT_SECONDS = 3.0  # a server that does not answer in this time counts as unreachable
INIT_SECONDS = 20.0  # wandb's own patience is 90 s
FINISH_SECONDS = 120.0  # for the last uploads; the rest stays in the folder for `wandb sync`


class WandbLogger(RunLogger):
    """Files below `<folder>/wandb`, sent to the server if there is an account and a connection.

    Without either, one line on stderr says so and the run is recorded offline; `wandb sync` sends it later. A mode that
    the user sets (`mode`, `WANDB_MODE`, `wandb offline`) is followed.

    The run's id is kept in `<folder>/wandb/id`, so that a resumed run continues the same W&B run. Under a sweep's agent
    the logger uses the sweep's run, with the agent's project, id and name.

    Args:
        folder: the run's folder.
        config: the composed config, as plain containers.
        project: None takes the project that `wandb init` or `WANDB_PROJECT` names, else 'frame'.
        name: None lets W&B invent one.
        mode: online, offline or disabled; None decides as above.
        id: None takes the kept one, else W&B invents one.
    """

    def __init__(
        self,
        folder: str | Path,
        config: dict[str, Any],
        project: str | None = None,
        name: str | None = None,
        mode: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._known: set[str] = set()
        self._run: Any = None
        with self.forgiving():
            # before wandb.init, because wandb falls back to the system's temporary folder if its own is missing
            (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
            self._run = self._init(config, project, name, mode, id)
            self._run.define_metric("iteration", hidden=True)
            if self._run.settings.mode != "disabled":
                self._id_file.write_text(self._run.id)
            if self._run.url:
                print(f"W&B: {self._run.url}", file=sys.stderr, flush=True)

    @property
    def _id_file(self) -> Path:
        return self.folder / "wandb" / "id"

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def version(self) -> str | None:
        return None if self._run is None else self._run.id

    @property
    def experiment(self) -> Any:
        """The `wandb.Run`, for other features of W&B; None if wandb could not start."""
        return self._run

    def _init(
        self, config: dict[str, Any], project: str | None, name: str | None, mode: str | None, id: str | None
    ) -> Any:
        if not os.environ.get("WANDB_MODE", "unset"):
            del os.environ["WANDB_MODE"]  # set but empty, which W&B refuses
        quiet = wandb.Settings(silent=True, console="off", init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS)
        globally = wandb.setup(settings=wandb.Settings(silent=True)).settings
        given: dict[str, Any] = {"dir": str(self.folder), "config": config, "settings": quiet}
        if not os.environ.get("WANDB_SWEEP_ID"):
            kept = self._id_file.read_text().strip() if self._id_file.exists() else None
            given["project"] = project or globally.project or "frame"
            given |= {"name": name, "id": id or kept, "resume": "allow"}
        mode = mode or os.environ.get("WANDB_MODE") or globally.mode
        if mode == "online":
            trouble = why_offline(globally.base_url)
            if not trouble:
                try:
                    return wandb.init(mode="online", **given)
                except Exception as error:
                    trouble = str(error) or type(error).__name__
            self.warn(f"{' '.join(trouble.split())[:200]}: the run is recorded offline, `wandb sync` sends it later")
            self._warned = False  # this was not an error of logging
            mode = "offline"
        given["mode"] = mode
        return wandb.init(**given)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._log(dict(metrics), step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        if not self.takes("image " + name):
            return
        with self.forgiving():
            self._log({name: wandb.Image(image)}, step)

    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        if not self.takes("table " + name):
            return
        with self.forgiving():
            data: list[Iterable[Any]] = [*rows]
            self._log({name: wandb.Table(columns=[*columns], data=data, allow_mixed_types=True)}, step)

    def _log(self, values: dict[str, Any], step: int | None) -> None:
        if self._run is None:
            return
        with self.forgiving():
            for name in values.keys() - self._known:
                # the exact name, because it is undefined which of several globs wins
                self._run.define_metric(name, step_metric="iteration")
                self._known.add(name)
            self._run.log(values if step is None else {"iteration": step, **values})

    def cut(self, iteration: int) -> None:
        """Nothing: W&B's history cannot be rewritten. The points that follow carry their own `iteration`, so that on
        that axis they lie over what a killed run had written after its last checkpoint."""

    def finalize(self, status: str) -> None:
        """Sends the rest, for at most `FINISH_SECONDS`."""
        if self._run is not None:
            with self.forgiving():
                self._run.finish(exit_code=0 if status in ("success", "finished") else 1)
        self._run = None


def why_offline(base_url: str) -> str:
    """Why the server cannot be used, in a few words; '' if it can. Takes a few seconds at most and never prompts."""
    try:
        if not wandb.login(prompt=False, verify=False):
            return "not logged in to W&B (`wandb login` does that)"
    except Exception as error:  # a malformed key, an unreadable settings file
        return f"cannot log in to W&B ({error})"
    url = urllib.parse.urlsplit(base_url)
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme=url.scheme)
    answer = ["no answer in time"]

    def connect() -> None:
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname or "", port), timeout=CONNECT_SECONDS).close()
            answer[0] = ""
        except (OSError, ValueError) as error:
            answer[0] = str(error)

    # in a thread, because a connection's timeout does not include the lookup of the host's name
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return f"the W&B server is out of reach ({answer[0]})" if answer[0] else ""
