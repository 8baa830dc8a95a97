"""Trains the run in tests/releases/ again: `python -m tests.make_release`, after the files of a run have changed.

The version's folder is replaced. Its environment.json names packages, but no places of this machine.
"""

import shutil
import tempfile
from pathlib import Path

from frame import __version__
from tests.processes import Process, only_run

RELEASES = Path(__file__).parent / "releases"
SETTINGS = (
    "+experiment=digits_VAE",
    "train_for=2 epochs",
    "logging=csv",
    "optimization.average=0.9",
    "checkpoint.best=ELBO/Validation",
    "params.encoder_layers=[8]",
    "params.decoder_layers=[8]",
    "experiment_name=release",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as cwd:
        process = Process(["train", *SETTINGS], Path(cwd))
        assert process.wait() == 0, process.output
        target = RELEASES / __version__.partition(".dev")[0]
        shutil.rmtree(target, ignore_errors=True)
        left_out = shutil.ignore_patterns("images", "previous.ckpt", "lock", "cache")
        shutil.copytree(only_run(Path(cwd)), target, ignore=left_out)
        (target / "code.diff").write_text("")


if __name__ == "__main__":
    main()
