import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from matplotlib.figure import Figure
from PIL import Image

import frame.loggers.wandb as module
from frame.loggers.wandb import WandbLogger
from tests import wandb_tools

CONFIG = {"params": {"lr": 1e-3, "layers": [32, 64]}, "seed": 42, "logging": {"wandb": {"name": None}}}


@pytest.fixture(autouse=True)
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ignores the account, settings and sweep of the person who runs the tests, and sends nothing."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["HTTP_PROXY", "HTTPS_PROXY"]:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield
    if wandb.run is not None:
        wandb.run.finish()
    wandb.teardown()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        yield


def test_offline_everything_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(tmp_path, CONFIG, project="mine", name="a name")
    logger.log_metrics({"loss": 2.5, "seconds": 1.0, "epochs": 0.5}, step=10)
    logger.log_metrics({"ELBO/Validation": -100.5, "loss": float("nan")}, step=20)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    logger.log_image("Image/Validation", pixels, 20)
    logger.log_figure("traversal", Figure(figsize=(2, 1), dpi=50), 20)
    logger.log_table("confusion", ["digit", "share"], [[3, 0.5], [8, None]], 20)
    logger.finalize("success")
    rows = wandb_tools.history(tmp_path)
    assert [(row["iteration"], row["loss"]) for row in rows[:1]] == [(10, 2.5)]
    assert rows[0]["seconds"] == 1.0 and rows[0]["epochs"] == 0.5
    assert rows[1]["iteration"] == 20 and rows[1]["ELBO/Validation"] == -100.5 and np.isnan(float(rows[1]["loss"]))
    files = next(tmp_path.glob("wandb/offline-run-*/files"))
    assert "Image/Validation.path" in rows[2] and "traversal.path" in rows[3]
    assert rows[4]["confusion._type"] == "table-file" and all(row["iteration"] == 20 for row in rows[1:])
    read = [np.asarray(Image.open(path).convert("RGB")) for path in files.glob("media/images/**/*.png")]
    assert any(np.array_equal(image, pixels) for image in read) and any(i.shape == (50, 100, 3) for i in read)
    assert '"share"' in next(files.glob("media/table/**/*.json")).read_text()
    run = next(r.run for r in wandb_tools.records(tmp_path) if r.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("mine", "a name")
    recorded = wandb_tools.config(tmp_path)
    assert recorded["params"] == CONFIG["params"] and recorded["seed"] == 42
    exits = [r.exit.exit_code for r in wandb_tools.records(tmp_path) if r.WhichOneof("record_type") == "exit"]
    assert exits == [0]
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""  # offline was asked for, so nothing is printed


def test_metrics_are_defined_by_their_exact_names(tmp_path: Path) -> None:
    logger = WandbLogger(tmp_path, CONFIG, mode="offline")
    for step in (1, 2):
        logger.log_metrics({"loss": 1.0, "ELBO/Validation": -1.0}, step=step)
    logger.finalize("failed")
    metrics = [r.metric for r in wandb_tools.records(tmp_path) if r.WhichOneof("record_type") == "metric"]
    assert sorted((m.name, m.step_metric) for m in metrics) == [
        ("ELBO/Validation", "iteration"),
        ("iteration", ""),
        ("loss", "iteration"),
    ]
    assert not any(m.glob_name for m in metrics)
    exits = [r.exit.exit_code for r in wandb_tools.records(tmp_path) if r.WhichOneof("record_type") == "exit"]
    assert exits == [1]


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    first = WandbLogger(tmp_path, CONFIG, mode="offline")
    first.log_metrics({"loss": 1.0}, step=1)
    first.finalize("failed")
    time.sleep(1.1)  # W&B names its folders by the second
    second = WandbLogger(tmp_path, CONFIG, mode="offline")
    second.cut(1)
    second.log_metrics({"loss": 0.5}, step=2)
    second.finalize("success")
    runs = [r.run.run_id for r in wandb_tools.records(tmp_path) if r.WhichOneof("record_type") == "run"]
    assert len(runs) == 2 and len(set(runs)) == 1
    assert (tmp_path / "wandb" / "id").read_text() == runs[0]
    assert [row["loss"] for row in wandb_tools.history(tmp_path)] == [1.0, 0.5]


def goes_offline_in_one_line(folder: Path, capfd: pytest.CaptureFixture[str], reason: str) -> None:
    began = time.monotonic()
    logger = WandbLogger(folder, CONFIG)
    assert time.monotonic() - began < 10
    assert logger.experiment.settings.mode == "offline"
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finalize("success")
    assert [row["loss"] for row in wandb_tools.history(folder)] == [1.0]
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and reason in shown.err, shown.err


def test_without_an_account_it_goes_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    goes_offline_in_one_line(tmp_path, capfd, "not logged in")


def test_with_a_malformed_key_it_goes_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not a key")
    goes_offline_in_one_line(tmp_path, capfd, "recorded offline")


def test_with_a_dead_network_it_goes_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    goes_offline_in_one_line(tmp_path, capfd, "out of reach")


@pytest.mark.usefixtures("silent_server")
def test_with_a_server_that_never_answers_it_goes_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "INIT_SECONDS", 0.5)
    goes_offline_in_one_line(tmp_path, capfd, "recorded offline")


def test_a_proxy_is_asked_instead_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    wandb.setup(settings=wandb.Settings(silent=True))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    assert "out of reach" in module.why_offline("https://wandb.invalid")
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.getsockname()[1]}")
        assert module.why_offline("https://wandb.invalid") == ""


def test_a_slow_host_lookup_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    wandb.setup(settings=wandb.Settings(silent=True))
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)

    def silent(*args: Any, **kwargs: Any) -> socket.socket:
        time.sleep(3)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    began = time.monotonic()
    assert "no answer in time" in module.why_offline("https://wandb.invalid")
    assert time.monotonic() - began < 1


class Captured(Exception):
    pass


def init_arguments(folder: Path, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def init(**kwargs: Any) -> None:
        seen.update(kwargs)
        raise Captured

    monkeypatch.setattr(wandb, "init", init)
    WandbLogger(folder, CONFIG, **arguments)
    return seen


def test_the_project_is_the_named_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert init_arguments(tmp_path, monkeypatch, mode="offline")["project"] == "frame"
    assert init_arguments(tmp_path, monkeypatch, mode="offline", project="mine")["project"] == "mine"
    wandb.teardown()
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert init_arguments(tmp_path, monkeypatch, mode="offline")["project"] == "theirs"


def test_under_an_agent_the_run_is_the_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "id").write_text("older")
    seen = init_arguments(tmp_path, monkeypatch, mode="offline", project="mine", name="n", id="i")
    assert set(seen) == {"dir", "config", "settings", "mode"}
    assert seen["config"] == CONFIG


@pytest.mark.filterwarnings("ignore:unclosed file .*sweep.yaml:ResourceWarning")  # wandb leaves it open
def test_under_an_agent_the_config_is_logged_with_the_sweeps_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # what `wandb agent` sets before it starts the program
    (tmp_path / "sweep.yaml").write_text("wandb_version: 1\n\nparams.lr:\n  value: 0.02\nseed:\n  value: 7\n")
    for name, value in {
        "WANDB_SWEEP_ID": "abc",
        "WANDB_RUN_ID": "r1",
        "WANDB_PROJECT": "theirs",
        "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "sweep.yaml"),
        "WANDB_MODE": "offline",
    }.items():
        monkeypatch.setenv(name, value)
    composed = {"params": {"lr": 0.02}, "seed": 7}
    logger = WandbLogger(tmp_path, composed, project="mine", name="n", id="i")
    assert (logger.version, logger.experiment.project) == ("r1", "theirs")
    assert logger.experiment.config["params"] == {"lr": 0.02}
    assert logger.experiment.config["params.lr"] == 0.02 and logger.experiment.config["seed"] == 7
    logger.finalize("success")
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""


def test_errors_while_logging_are_reported_once_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = WandbLogger(tmp_path, CONFIG, mode="offline")

    def fails(*args: Any, **kwargs: Any) -> None:
        raise wandb.Error("the service is gone")

    monkeypatch.setattr(logger.experiment, "log", fails)
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.log_image("picture", np.zeros((2, 2), dtype=complex), 3)  # an invalid picture
    with monkeypatch.context() as context:
        context.setattr(logger.experiment, "finish", fails)
        logger.finalize("success")
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "the service is gone" in error


def test_disabled_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logger = WandbLogger(tmp_path, CONFIG, mode="disabled")
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finalize("success")
    assert not list(tmp_path.glob("wandb/*run*")) and not (tmp_path / "wandb" / "id").exists()
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""


def test_the_run_goes_on_if_wandb_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise wandb.Error("no service")

    monkeypatch.setattr(wandb, "init", fails)
    logger = WandbLogger(tmp_path, CONFIG, mode="offline")
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.log_table("t", ["n"], [[1]], 1)
    logger.finalize("success")
    assert logger.experiment is None and capfd.readouterr().err.count("\n") == 1


def test_an_empty_mode_counts_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    seen = init_arguments(tmp_path, monkeypatch)
    assert seen["mode"] == "offline"
