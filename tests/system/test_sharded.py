"""Two processes on the CPU that each hold a part of the model (FSDP2): they train, measure and save as whole ones."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import frame
from frame.callbacks.checkpoints import read
from frame.composition.folders import config_folder
from tests.processes import only_run, train
from tests.system.test_ddp import (
    NOISELESS,
    TWO,
    assert_one_process_finds_the_same,
    launch,
    of_two_and_of_one,
    started_from_outside,
)

SHARDED = [*TWO[:2], "+trainer.strategy=fsdp2"]
NUMBER = "with a parameter of one number"
BOUNDED = ["optimization.average=0.9", "optimization.clip=0.5"]


def end(cwd: Path) -> dict[str, Tensor]:
    """All tensors of the last state in a folder's one run, by their places in it."""
    state = read(only_run(cwd) / "checkpoints" / "last.ckpt")
    optimizers = {
        f"{name}.{number}.{key}": value
        for name, player in state["players"].items()
        for number, entries in player["optimizer"]["state"].items()
        for key, value in entries.items()
    }
    average = {f"average.{name}": value for name, value in (state["average"] or {}).items()}
    return {**state["model"], **average, **optimizers}


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("procedure", NOISELESS)
def test_parts_train_as_one_process_with_all_rows(procedure: str, tmp_path: Path) -> None:
    plain = ["data=digits", f"optimization={procedure}_ADAM", "logging=csv", *NOISELESS[procedure], *BOUNDED]
    ours, theirs = of_two_and_of_one(plain, "0.1", tmp_path, SHARDED)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("procedure", "frozen"), [("batch", "encoder.backbone.*"), ("adversarial", "adversary.*")])
def test_parts_that_are_frozen_for_a_while_are_trained_later(procedure: str, frozen: str, tmp_path: Path) -> None:
    plain = ["data=digits", f"optimization={procedure}_ADAM", "logging=csv", *NOISELESS[procedure], *BOUNDED]
    plain += [f"optimization.rules={{still: {{match: {frozen}, freeze: 6 iterations}}}}"]
    ours, theirs = of_two_and_of_one(plain, "0.1", tmp_path, SHARDED)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_norms_of_parts_are_those_of_whole_tensors(tmp_path: Path) -> None:
    plain = ["data=digits", "optimization=batch_ADAM", "logging=csv", *NOISELESS["batch"], *BOUNDED]
    lars = ["optimization.optimizer._target_=frame.optimization.lars.LARS", "~optimization.optimizer.fused"]
    ours, theirs = of_two_and_of_one(plain, "0.1", tmp_path, [*SHARDED, *lars], lars)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "broken_by"),
    [*((name, "SIGKILL 17") for name in ("tiny", "duel", "pair", "codes", "normalised", NUMBER)), ("tiny", "save 4")],
)
def test_a_killed_run_ends_in_the_same_bits(experiment: str, broken_by: str, tmp_path: Path) -> None:
    numbered = ["data=digits", "optimization=adversarial_ADAM", "logging=csv", *NOISELESS["adversarial"]]
    words = numbered if experiment == NUMBER else [f"experiment={experiment}"]
    words += [*SHARDED, "optimization.average=0.9", "checkpoint.every=5 iterations"]
    words += ["train_for=30 iterations", "cut_schedules=true", "++callbacks.breaker._target_=toys.Breaker"]
    words += ["checkpoint.best=ELBO/Validation"] if experiment == "tiny" else []
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    code, output = started_from_outside(words, straight)
    assert code == 0, output
    code, output = started_from_outside(words, broken, BREAK=broken_by)
    assert code == -9, output
    run = only_run(broken)
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] in (5, 10, 15)
    code, output = started_from_outside([f"resume={run}"], broken)
    assert code == 0, output
    assert_same_bits(end(broken), end(straight))
    if experiment == "tiny":
        best = [read(only_run(cwd) / "checkpoints" / "best.ckpt")["model"] for cwd in (broken, straight)]
        assert_same_bits(*best)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp2", "ddp"])
def test_two_nodes_of_a_process_each_end_in_the_bits_of_one_of_two(strategy: str, tmp_path: Path) -> None:
    words = ["experiment=tiny", "device.gpus=0", f"+trainer.strategy={strategy}", "optimization.average=0.9"]
    words += ["checkpoint.every=5 iterations", "train_for=30 iterations", "cut_schedules=true"]
    words += ["++callbacks.breaker._target_=toys.Breaker"]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    code, output = started_from_outside([*words, "+trainer.devices=2"], one)
    assert code == 0, output
    nodes = ["+trainer.devices=1", "+trainer.num_nodes=2"]
    code, output = started_from_outside([*words, *nodes], two, nodes=2, BREAK="SIGKILL 17")
    assert code == -9, output
    code, output = started_from_outside([f"resume={only_run(two)}"], two, nodes=2)
    assert code == 0, output
    assert_same_bits(end(two), end(one))


@pytest.mark.slow
def test_a_run_goes_on_with_other_numbers_of_processes(tmp_path: Path) -> None:
    """In parts and as a whole, as a run under DDP does with the same numbers."""
    ends = []
    for strategy in ("fsdp2", "ddp"):
        cwd = tmp_path / strategy
        cwd.mkdir()
        plain = ["experiment=tiny", *TWO[:2], f"+trainer.strategy={strategy}", "optimization.average=0.9"]
        plain += ["optimization.optimizer._target_=torch.optim.SGD", "+optimization.optimizer.momentum=0.9"]
        code, output = started_from_outside([*plain, "train_for=22 iterations"], cwd)  # two epochs of 11
        assert code == 0, output
        run = only_run(cwd)
        code, output = train([f"resume={run}", "trainer.devices=1", "train_for=24 iterations"], cwd)
        assert code == 0, output
        code, output = started_from_outside([f"resume={run}", "trainer.devices=2", "train_for=30 iterations"], cwd)
        assert code == 0, output
        ends.append(end(cwd))
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[1].items():
        torch.testing.assert_close(ends[0][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_evaluations_of_parts_find_what_one_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = started_from_outside(["experiment=ranks", *SHARDED, "optimization.average=0.8"], tmp_path)
    assert code == 0, output
    assert "Rude failed at iteration 10; training goes on" in output  # all ranks learn it
    assert_one_process_finds_the_same(only_run(tmp_path), monkeypatch)


@pytest.mark.slow
def test_a_rank_that_fails_while_others_wait_for_its_part_ends_the_run(tmp_path: Path) -> None:
    score = "{_target_: toys.FailsOnRank, from_call: 4, inside: true, encodes: true}"
    fails = (
        "+callbacks.alone={_target_: frame.callbacks.EvaluationCallback, name: Alone, evaluate_every: 5 iterations,"
        f" evaluator: {score}}}"
    )
    code, output = started_from_outside(["experiment=tiny", *SHARDED, fails], tmp_path)
    assert code != 0 and "rank 1 fails on purpose" in output
    assert json.loads((only_run(tmp_path) / "status.json").read_text())["state"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(file.stem for file in (config_folder() / "experiment").glob("digits_*.yaml")))
def test_every_experiment_trains_in_parts_with_all_that_watches_it(name: str, tmp_path: Path) -> None:
    words = [f"+experiment={name}", *SHARDED, "logging=csv", "train_for=5 iterations", "cut_schedules=true"]
    code, output = started_from_outside([*words, "doctor.check_every=2 iterations"], tmp_path)
    assert code == 0 and "failed at iteration" not in output, output
    run = frame.open(only_run(tmp_path))
    assert run.state["counters"]["iterations"] == 5 and run.model is not None


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_and_the_run_goes_on(tmp_path: Path) -> None:
    """Also from one process, whose state is whole, to two, in bf16."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    words = ["experiment=tiny", "device.gpus=0", "+trainer.precision=bf16-mixed"]
    ends = []
    for cwd, broken_by in ((straight, ""), (broken, "SIGTERM 35")):
        code, output = train([*words, "train_for=22 iterations"], cwd)
        assert code == 0, output
        run = only_run(cwd)
        two = [f"resume={run}", "+trainer.devices=2", "+trainer.strategy=fsdp2", "train_for=50 iterations"]
        code, output = launch(two, cwd, BREAK=broken_by)
        assert code == (143 if broken_by else 0), output
        if broken_by:
            assert [*(run / "checkpoints").glob("last-4*")], output  # in parts
            code, output = launch([f"resume={run}"], cwd)
            assert code == 0, output
        ends.append(end(cwd))
    assert_same_bits(*ends)
