"""What a call leaves as it was."""

import logging
import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins

from frame.composition.compose import compose
from frame.composition.folders import OwnFolder, use_own_folder
from frame.composition.session import unchanged


def state() -> dict[str, Any]:
    """What may change, in comparable form."""
    Plugins.instance()  # registers Hydra's own sources, the first time
    loggers = {name: logging.getLogger(name).level for name in ("", "lightning", "lightning.pytorch", "hydra")}
    return {
        "cwd": os.getcwd(),
        "argv": [*sys.argv],
        "path": [*sys.path],
        "finders": [*sys.meta_path],
        "environment": dict(os.environ),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "filters": [*warnings.filters],
        "loggers": loggers,
        "hydra": (GlobalHydra.instance().hydra, dict(SourcesRegistry.instance().types), OwnFolder.folder),
        "numbers": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),  # type: ignore[index]
        "torch": (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
        ),
    }


def test_everything_is_as_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    before = state()
    try:
        with unchanged():
            (tmp_path / "config").mkdir()
            os.chdir(tmp_path)
            use_own_folder()
            compose(["+experiment=digits_VAE"])
            sys.argv.append("more")
            sys.meta_path.append(object())  # type: ignore[arg-type]
            os.environ["MORE"] = os.environ.pop("HOME")
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            warnings.filterwarnings("ignore", "more")
            logging.getLogger("lightning").setLevel(1)
            [seed(1) for seed in (random.seed, np.random.seed, torch.manual_seed)]
            torch.set_grad_enabled(False)
            torch.set_float32_matmul_precision("medium")
            assert state() != before
            raise KeyError
    except KeyError:
        pass
    after = state()
    assert {key for key in before if before[key] != after[key]} == set()


def test_a_user_of_hydra_may_call(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\n")
    with initialize_config_dir(version_base="1.3", config_dir=str(tmp_path)):
        mine = GlobalHydra.instance().hydra
        with unchanged():
            assert compose(["+experiment=digits_VAE", "params.z_dim=5"]).params.z_dim == 5
        assert GlobalHydra.instance().hydra is mine
