"""Sizes and costs of models against counts by hand, for the steps of a run on its own batches."""

import random
import signal
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from frame.composition.compose import compose
from frame.composition.folders import options
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import whole_batch
from frame.data.loader import Loader
from frame.engine.costs import costs
from frame.optimization.base import Optimization
from frame.runs.summary import total_costs
from tests.models.test_every_model import composed_once
from tests.processes import Process, only_run, train
from tests.sized import sized
from tests.slow import slow_but


def made(experiment: str, *overrides: str, limit: int | None = None) -> tuple[Optimization, Loader]:
    config = sized(compose([f"experiment={experiment}", *overrides])) if overrides else composed_once(experiment)
    model = instantiate(resolved(config.model))
    optimization: Optimization = instantiate(resolved(config.optimization), model=model)
    data = instantiate(resolved(config.data))
    return optimization, Loader(data.training(), optimization.batch_size, limit=limit)


def of(experiment: str, *overrides: str, limit: int | None = None) -> dict[str, float]:
    return costs(*made(experiment, *overrides, limit=limit))


def layer(rows: int, n_in: int, n_out: int, first: bool = False) -> int:
    """A product and its gradients, of weights and of inputs; the first layer's inputs need none."""
    return 2 * rows * n_in * n_out * (2 if first else 3)


def test_a_vae_by_hand() -> None:
    found = of("digits_VAE")
    encoder = [(64, 128), (128, 16)]
    layers = [*encoder, (8, 128), (128, 128)]  # location and scale of 64 pixels
    assert found["encoder_parameters"] == sum((i + 1) * o for i, o in encoder)
    assert found["parameters"] == sum((i + 1) * o for i, o in layers)
    # 2 i o forward, twice that backward, but no gradient of the pictures
    a_row = sum(6 * i * o for i, o in layers) - 2 * 64 * 128
    assert found["flops_per_sample"] == a_row and found["flops_per_iteration"] == 64 * a_row
    assert (found["short_rows"], found["short_flops"]) == (1297 % 64, 1297 % 64 * a_row)


def test_pseudo_inputs_are_encoded_once_a_batch_and_not_once_a_row() -> None:
    """The VampPrior's K pseudo-inputs go through the encoder once, whatever the batch size."""
    plain, vamp = of("digits_VAE"), of("digits_VampVAE")
    optimization, _ = made("digits_VampVAE")
    model: Any = optimization.model
    k = next(p.shape[0] for name, p in model.named_parameters() if "pseudo" in name or "inputs" in name)
    of_inputs = sum(layer(k, i, o) for i, o in [(64, 128), (128, 16)])  # learned pictures have a gradient
    for rows, key in ((64, "flops_per_iteration"), (1297 % 64, "short_flops")):
        # the density of the mixture: z and z^2 against each component's mean and precision
        assert vamp[key] - plain[key] == of_inputs + 2 * layer(rows, 8, k)


@pytest.mark.parametrize("experiment", ["digits_VAE", "digits_IWAE", "digits_Classifier", "digits_MIB"])
def test_it_equals_torchs_count_of_a_step(experiment: str) -> None:
    optimization, loader = made(experiment)
    found = costs(optimization, loader)
    batch = whole_batch(loader.source, torch.arange(optimization.batch_size))
    with FlopCounterMode(display=False) as counter:
        optimization.model(batch)["loss"].backward()
    assert found["flops_per_iteration"] == counter.get_total_flops()


def test_players_get_only_their_own_gradients() -> None:
    """The other player is frozen: its weights get no gradient, but its inputs do if they depend on weights."""
    optimization, loader = made("digits_AAE")
    model: Any = optimization.model
    found = costs(optimization, loader)
    rows = optimization.batch_size

    def sizes(module: torch.nn.Module) -> list[tuple[int, int]]:
        return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, torch.nn.Linear)]

    encoder, decoder, adversary = sizes(model.encoder), sizes(model.decoder), sizes(model.adversary)
    # its own step: codes and samples of the prior go through it, and codes are detached
    own = sum(2 * rows * i * o for i, o in encoder)
    own += sum(layer(2 * rows, i, o, first=number == 0) for number, (i, o) in enumerate(adversary))
    # the others' step: the gradient passes through the frozen adversary to its inputs
    others = sum(layer(rows, i, o, first=number == 0) for number, (i, o) in enumerate(encoder))
    others += sum(layer(rows, i, o) for i, o in decoder) + sum(4 * rows * i * o for i, o in adversary)
    assert found["flops_per_iteration"] == own + others


def test_an_adversary_costs_more_the_more_often_it_steps() -> None:
    counted = {n: of("digits_WGAN_GP", f"params.n_adversary_steps={n}") for n in (1, 2, 5)}
    each = {n: found["flops_per_iteration"] for n, found in counted.items()}
    critic = 2 * each[2] - each[1]  # one of two iterations has both steps
    assert 0 < critic < each[1] and each[5] == pytest.approx((4 * critic + each[1]) / 5)
    assert of("digits_GAN")["encoder_parameters"] is None


def test_the_costs_of_a_run_follow_the_rows_that_it_trained_on() -> None:
    found = of("digits_VAE")
    a_row = found["flops_per_sample"]
    for epochs, iterations, samples in ((1, 21, 1297), (2, 42, 2594), (0, 5, 320)):
        counters = {"iterations": iterations, "samples": samples, "epochs": epochs}
        assert total_costs(found, counters)["flops"] == pytest.approx(samples * a_row)
    assert "short_rows" not in of("digits_VAE", limit=20)  # the short one is never reached
    assert of("digits_VAE", "params.batch_size=1297")["batch_rows"] == 1297
    few = of("digits_VAE", "params.batch_size=2000")
    assert few["batch_rows"] == 1297 and few["flops_per_sample"] == a_row and "short_rows" not in few
    shared = {**found, "processes": 2}
    assert total_costs(shared, {"iterations": 10, "samples": 1280})["flops"] == pytest.approx(1280 * a_row)


DIGITS = [name for name in options("experiment") if name.startswith("digits_")]
OFTEN = {f"digits_{name}" for name in ("VAE", "GAN", "Joint", "SimCLR", "BYOL", "MAE", "M2", "VQVAE", "FixMatch")}


@pytest.mark.parametrize("experiment", slow_but(OFTEN, DIGITS))
def test_every_method_has_costs_and_is_not_changed(experiment: str) -> None:
    torch.manual_seed(0)
    optimization, loader = made(experiment)
    before = {key: value.clone() for key, value in optimization.state_dict().items()}
    state, python, numbers = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    found = costs(optimization, loader)
    assert found["parameters"] > 0 and found["flops_per_sample"] > 0
    assert torch.equal(state, torch.get_rng_state()) and python == random.getstate()
    assert numbers == str(np.random.get_state())
    assert all(torch.equal(value, before[key]) for key, value in optimization.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in optimization.model.parameters())
    assert optimization.counters["updates"] == 0 and not optimization.players


class Attached(Optimization):
    """A user's procedure that needs its trainer."""

    def step(self, batch: Any) -> Any:
        return {"loss": self.trainer.current_epoch}

    def make_players(self) -> Any:
        return {}


def test_a_procedure_that_needs_its_trainer_is_reported_and_trains(capsys: pytest.CaptureFixture[str]) -> None:
    optimization, loader = made("digits_VAE")
    found = costs(Attached(optimization.model, 64), loader)
    assert found["parameters"] > 0 and "flops_per_iteration" not in found
    error = capsys.readouterr().err
    assert "FLOPs are not counted, Attached cannot step by itself" in error and error.count("\n") == 1
    assert total_costs(found, {"iterations": 3, "samples": 192})["flops"] is None


def test_a_run_keeps_them(tmp_path: Any) -> None:
    from frame.runs.folder import RunFolder
    from frame.runs.listing import RunSummary

    code, output = train(["experiment=tiny", "train_for=1 epoch", "callbacks=null"], tmp_path)
    assert code == 0, output
    summary = RunSummary(RunFolder(only_run(tmp_path)))
    counters = summary.status["counters"]
    assert summary.get("flops") == pytest.approx(counters["samples"] * summary.get("flops_per_sample"))


def test_what_takes_long_is_said_and_ended_by_a_signal(tmp_path: Any) -> None:
    slow = "import time, frame.engine.costs as c; c.PATIENCE = 0.1; c._flops = lambda *_, wait=time.sleep: wait(60)"
    process = Process(["train", "experiment=digits_VAE", "logging=csv"], tmp_path, first=slow)
    deadline = time.monotonic() + 60
    while "counting the operations of a step before training" not in process.output:
        assert time.monotonic() < deadline, process.output
        time.sleep(0.05)
    assert process.process.pid is not None
    process.process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    assert not list(tmp_path.glob("runs/*/*"))
