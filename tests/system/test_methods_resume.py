"""A shipped method for each procedure and each kind of state: killed and resumed to the same bits, equal on two ranks.

`test_resume.py` and `test_ddp.py` test the same with toys, at every point where a run can break.
"""

from pathlib import Path

import pytest
import torch

from frame.callbacks.checkpoints import read
from tests.processes import only_run, train
from tests.system.test_ddp import TWO, launch, witnesses
from tests.system.test_resume import assert_same_end

BREAKER = "+callbacks.breaker={_target_: toys.Breaker}"
SHORT = ["callbacks=null", "logging=csv", "train_for=50 iterations", "checkpoint.every=5 iterations"]
WARM = "params.lr={_target_: frame.common.schedules.Cosine, start: 1e-3, end: 0.0, warmup: 70%}"  # killed within it
STILL = "optimization.rules={decoder: {match: decoder.*, freeze: 80%, lr_scale: 0.5}}"
# the state that each of them tests, and settings that change it within 50 iterations
# (those from VQVAE on write buffers, MoCo, DINO and the last within their losses; LeJEPA draws directions)
METHODS = {
    "digits_VAE": ["optimization.average=0.9", "params.encoder_layers=[32]", WARM, STILL],
    "digits_AAE": ["params.n_adversary_steps=2", "optimization.accumulate=3"],
    "digits_Joint": [],
    "digits_AnnealedVAE": ["params.capacity.over=40 iterations"],
    "digits_VQVAE": ["params.decay=0.9", "params.encoder_channels=[4, 8]", "params.decoder_channels=[8, 4]"],
    "digits_SparseAutoencoder": ["params.dead_after=3", "params.n_units=128"],
    "digits_MoCo": ["params.n_queue=200"],
    "digits_DINO": [
        "params.decay={_target_: frame.common.schedules.Cosine, start: 0.9, end: 1.0}",
        "params.teacher_temperature={_target_: frame.common.schedules.Linear, start: 0.04, end: 0.07, over: 70%}",
    ],
    "digits_LeJEPA": [],
    "linear_units_GroupDRO": ["data.n_rows=450", "params.batch_size=64", "params.step_size=0.5"],
    "normalised": [],
}
QUICK = ("digits_AAE",)
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]


def words(experiment: str) -> list[str]:
    return [f"experiment={experiment}", *METHODS[experiment], *SHORT]


@pytest.mark.parametrize("experiment", CASES)
def test_killed_and_resumed_ends_in_the_same_bits(experiment: str, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    code, output = train(words(experiment), straight)
    assert code == 0, output
    code, output = train([*words(experiment), BREAKER], broken, BREAK="SIGKILL 33")  # in the second epoch, after a save
    assert code == -9, output
    run = only_run(broken)
    code, output = train([f"resume={run}"], broken)
    assert code == 0, output
    assert_same_end(run, only_run(straight))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", METHODS)
def test_two_ranks_end_equal(experiment: str, tmp_path: Path) -> None:
    witness = f"+callbacks.witness={{_target_: toys.Witness, file: {tmp_path / 'witness'}}}"
    code, output = launch([*words(experiment), witness, *TWO], tmp_path)
    assert code == 0, output
    hashes, seconds, rows = witnesses(tmp_path / "witness")
    assert hashes[0] == hashes[1]
    assert seconds[0] == seconds[1] > 0
    assert not set(rows[0][:640]) & set(rows[1][:640])  # the first epoch: shards that do not overlap


# they draw no noise and sum counts over ranks, so a gradient is the mean over all rows
NOISELESS = ["digits_AE", "digits_SparseAutoencoder"]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", NOISELESS)
def test_two_ranks_agree_with_one_process_of_twice_the_batch(experiment: str, tmp_path: Path) -> None:
    plain = [f"experiment={experiment}", *METHODS.get(experiment, []), *SHORT, "train_for=15 iterations"]
    plain += ["optimization.optimizer._target_=torch.optim.SGD", "params.lr=1e-4"]  # as in test_ddp.py
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    code, output = launch([*plain, "params.batch_size=32", *TWO], two)
    assert code == 0, output
    code, output = train([*plain, "params.batch_size=64"], one)
    assert code == 0, output
    ours, theirs = (read(only_run(cwd) / "checkpoints" / "last.ckpt")["model"] for cwd in (two, one))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)
