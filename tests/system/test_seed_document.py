"""The promised interface: the commands and the example of the document that specified the project."""

import os
from pathlib import Path

import pandas as pd
import pytest
import wandb

from frame.callbacks.checkpoints import read
from tests import wandb_tools
from tests.processes import Process, only_run, python

needs_mnist = pytest.mark.skipif(
    not list(Path(os.environ.get("DATA_ROOT", "nowhere"), "MNIST", "raw").glob("train-images*")),
    reason="set DATA_ROOT to a folder that has MNIST/raw",
)
ROOT = Path(__file__).parents[2]

# The document's example; only the two prefixes `code.` and `utils.` are changed.
EXAMPLE = """\
# @package _global_
defaults:
  - /model: VAE
  - /data: MNIST
  - /optimization: batch_ADAM
architectures:
  prior:
    _target_: code.architectures.base.DiagonalNormal
    z_dim: ${params.z_dim}
  decoder:
    _target_: code.architectures.MNIST.Decoder
    z_dim: ${params.z_dim}
    layers: ${params.decoder_layers}
  encoder:
    _target_: code.architectures.MNIST.Encoder
    layers: ${params.encoder_layers}
    z_dim: ${params.z_dim}
params:
  z_dim: 64
  beta: 0.5
  lr: 1e-3
  batch_size: 128
  encoder_layers: [ 1024, 128 ]
  decoder_layers: [ 128, 1024 ]
callbacks:
  - _target_: utils.callbacks.EvaluationCallback
    name: ImageReconstruction/Validation
    evaluate_every: 10 seconds
    evaluator:
      _target_: code.evaluation.reconstruction.ImageReconstructionQualitativeEvaluation
      evaluate_on: valid
      n_pictures: 10
      sample_images: False
      sample_latents: False
  - _target_: utils.callbacks.EvaluationCallback
    name: ELBO/Validation
    evaluate_every: 10 seconds
    evaluator:
      _target_: code.evaluation.elbo.ELBOEvaluation
      evaluate_on: valid
      n_samples: 2048
  - _target_: utils.callbacks.EvaluationCallback
    name: ELBO/Train
    evaluate_every: 10 seconds
    evaluator:
      _target_: code.evaluation.elbo.ELBOEvaluation
      evaluate_on: train
      n_samples: 2048
"""


def run(words: list[str], cwd: Path, **environment: str) -> str:
    process = Process(["train", *words], cwd, **environment)
    code = process.wait()
    assert code == 0, process.output
    return process.output


@needs_mnist
def test_the_example_runs_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "experiment"
    folder.mkdir(parents=True)
    text = EXAMPLE.replace(" code.", " frame.").replace(" utils.", " frame.")
    (folder / "example.yaml").write_text(text)
    run(["+experiment=example", "train_for=20 iterations", "logging=csv"], tmp_path)
    metrics = pd.read_csv(only_run(tmp_path) / "metrics.csv")
    assert metrics["ELBO/Validation"].notna().sum() == metrics["ELBO/Train"].notna().sum() == 2
    assert list((only_run(tmp_path) / "images").glob("ImageReconstruction_Validation/*.png"))


@needs_mnist
@pytest.mark.slow
def test_twenty_epochs_are_exactly_twenty(tmp_path: Path) -> None:
    words = ["+experiment=VAE_MNIST", "+trainer.max_epochs=20", "params.beta=0.1", "logging=csv"]
    small = ["params.batch_size=1000", "params.encoder_layers=[16]", "params.decoder_layers=[16]", "callbacks=null"]
    run([*words, *small], tmp_path)
    counters = read(only_run(tmp_path) / "checkpoints" / "last.ckpt")["counters"]
    assert counters["epochs"] == 20 and counters["iterations"] == 1000


@needs_mnist
def test_train_py_runs_from_elsewhere_with_tensorboard_and_a_named_device(tmp_path: Path) -> None:
    (tmp_path / "config" / "device").mkdir(parents=True)
    (tmp_path / "config" / "device" / "mine.yaml").write_text(
        "data_root: ${oc.env:DATA_ROOT}\nbig_data_root: /hddstore/data\nexperiments_root: ./elsewhere\n"
        "download_files: true\nnum_workers: 32\ngpus: 0\n"
    )
    words = ["+experiment=MNIST_VAE", "logging=tensorboard", "+trainer.max_steps=3", "~callbacks.traversals_valid"]
    code = f"import runpy, sys; sys.argv[1:] = {words}; runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"
    done = python(code, tmp_path, DEVICE_NAME="mine")
    assert done.returncode == 0, done.stderr
    (events,) = (tmp_path / "elsewhere").glob("MNIST_VAE/*/tensorboard/events*")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(events.parent), size_guidance={"scalars": 0, "images": 0}).Reload()
    assert [event.step for event in accumulator.Scalars("ELBO/Validation")] == [0, 3]
    assert accumulator.Images("ImageReconstruction/Validation")


def test_the_run_of_an_agent_logs_the_sweeps_metric(tmp_path: Path) -> None:
    values = {
        "params.beta": 1e-05,
        "params.encoder_layers": [32, 64],
        "device.download_files": False,
        "experiment_name": "a name with spaces",
    }
    words = wandb_tools.hydra_overrides(wandb_tools.agent_command(ROOT / "sweeps" / "VAE_MNIST.yaml", values))
    assert "params.beta=1e-05" in words
    words = [word for word in words if not word.startswith(("+experiment=", "+trainer.max_epochs"))]
    small = ["+experiment=digits_VAE", "+trainer.max_epochs=1", "~callbacks.traversals_valid"]
    run([*small, *words], tmp_path, WANDB_MODE="offline")
    wandb.teardown()
    folder = only_run(tmp_path)
    logged = [row for row in wandb_tools.history(folder) if "ELBO/Validation" in row]
    assert len(logged) == 2
    ours = pd.read_csv(folder / "metrics.csv").dropna(subset="ELBO/Validation")
    assert [row["ELBO/Validation"] for row in logged] == ours["ELBO/Validation"].tolist()
    assert folder.parent.name == "a name with spaces"
    config = wandb_tools.config(folder)
    assert config["params"]["beta"] == 1e-05 and config["params"]["encoder_layers"] == [32, 64]
    assert config["device"]["download_files"] is False
    # the KL has weight 1, whatever beta trains with
    last = ours.iloc[-1]
    assert last["ELBO/Validation"] == pytest.approx(
        -last["ELBO/Validation/distortion"] - last["ELBO/Validation/rate"], rel=1e-5
    )
