"""The baseline of benchmarks/ does the same work as our model, and its stopwatch and table are correct."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frame.architectures.base import DiagonalNormal
from frame.architectures.MNIST import Decoder, Encoder
from frame.models.VAE import VAE

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import bare  # noqa: E402
import captured  # noqa: E402


def test_bare_loop_computes_the_losses_of_VAE() -> None:
    """Same weights, same noise: the same loss and the same gradients, so that a ratio compares equal work."""
    torch.manual_seed(0)
    encoder, decoder = bare.networks()
    model = VAE(Encoder(64, [1024, 128]), Decoder(64, [128, 1024]), DiagonalNormal(64), beta=0.5)
    theirs = [*encoder.parameters(), *decoder.parameters()]
    assert [p.shape for p in model.parameters()] == [p.shape for p in theirs]
    for mine, their in zip(model.parameters(), theirs, strict=True):
        mine.data.copy_(their.data)
    x = torch.rand(8, 1, 28, 28)
    torch.manual_seed(1)
    loss, distortion, rate = bare.losses(encoder, decoder, x.flatten(1), beta=0.5)
    torch.manual_seed(1)
    found = model({"x": x})
    for name, expected in {"loss": loss, "distortion": distortion, "rate": rate}.items():
        torch.testing.assert_close(found[name], expected)
    loss.backward()
    found["loss"].backward()
    for mine, their in zip(model.parameters(), theirs, strict=True):
        torch.testing.assert_close(mine.grad, their.grad, rtol=1e-4, atol=1e-5)


def test_bare_loop_learns() -> None:
    """A loop that does not train would be a wrong baseline."""
    torch.manual_seed(0)
    pixels = torch.full((40 * 16, 784), 255, dtype=torch.uint8)
    ticks: list[int] = []
    networks: list[torch.nn.Sequential] = []
    made = bare.networks

    def remember(size: bare.Size) -> tuple[torch.nn.Sequential, torch.nn.Sequential]:
        networks.extend(made(size))
        return networks[0], networks[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bare, "networks", remember)
        bare.train(pixels, bare.Size((1024, 128), 64, 16), 40, lambda: ticks.append(1))
    assert len(ticks) == 40
    x = pixels[:16].float() / 255
    loss, _, _ = bare.losses(networks[0], networks[1], x, beta=0.5)
    assert loss.item() < 100 < 784 * 0.693  # a fair coin for each pixel costs 784 ln 2 nats


def test_stopwatch_measures_the_time_between_two_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    import throughput

    now = iter([10.0, 17.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(now))
    watch = throughput.Stopwatch(warm=2, last=5)
    for _ in range(5):
        watch.tick()
    assert watch.seconds == 7.0


def test_ratios_are_paired_run_by_run() -> None:
    """Rounds of 1, 2 and 4 s for the baseline, and always 1.5 times as long for the other: one ratio."""
    import throughput

    seconds = {"bare": [1.0, 2.0, 4.0], "other": [1.5, 3.0, 6.0]}
    row = throughput.table(seconds, {"bare": "bare loop", "other": "other"}).splitlines()[-1]
    found = json.loads(throughput.as_json(seconds, "small", "here"))
    assert found["ratios"] == {"bare": 1.0, "other": 1.5} and found["model"] == "small"
    assert row == "| other | 1.50 | 1.50–1.50 | 3000.00 |"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["small", "large"])
def test_the_benchmark_runs_and_its_last_line_is_json(model: str) -> None:
    keys = ["model", "without_lightning", "lightning", "frame", "frame_each_batch"]
    words = ["--model", model, "--quick", "--json", "--only", ",".join(keys)]
    script = str(Path(bare.__file__).with_name("throughput.py"))
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found["ratios"]) == ["bare", *keys] and found["ratios"]["bare"] == 1 and found["model"] == model
    assert all(ratio > 0 for ratio in found["ratios"].values())


@pytest.mark.slow
def test_the_benchmark_of_augmentations_runs_and_compares_in_pairs() -> None:
    script = str(Path(bare.__file__).with_name("augmentation.py"))
    words = ["--quick", "--rows", "64", "--json"]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["views_per_second"]) == {"frame", "kornia"} and found["ratio"] > 1


@pytest.mark.slow
def test_the_benchmark_of_data_beyond_memory_runs() -> None:
    script = str(Path(bare.__file__).with_name("beyond_memory.py"))
    words = ["--quick", "--json", "--limit", "200"]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["ratios"]) == {"bare", "mapped", "mapped_1_worker", "decoded", "decoded_all_threads"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_captured_steps_are_measured_on_a_gpu_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert captured.main([]) == 2
    assert "needs a GPU" in capsys.readouterr().err
