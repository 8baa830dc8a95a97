"""Runs for the tests of several files, trained once per worker. A test that changes one must copy it first."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.processes import only_run, train

# training notes folders in the user's configuration: not in that of the user who runs the tests
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="frame-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`experiment=tiny` as it stands: 50 iterations."""
    cwd = tmp_path_factory.mktemp("tiny")
    code, output = train(["experiment=tiny"], cwd)
    assert code == 0, output
    return only_run(cwd)


@pytest.fixture(scope="session")
def averaged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an average and a best checkpoint; its config contains paths of this machine."""
    cwd = tmp_path_factory.mktemp("averaged")
    words = ["experiment=tiny", "optimization.average=0.9", "checkpoint.best=ELBO/Validation"]
    witness = f"+callbacks.witness={{_target_: toys.Witness, file: {cwd}/witness}}"
    code, output = train([*words, witness, f"device.experiments_root={cwd}/runs"], cwd)
    assert code == 0, output
    return only_run(cwd)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call() -> None:
    """Removes pytest's variable, which differs in each test: compositions are remembered for an environment."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)
