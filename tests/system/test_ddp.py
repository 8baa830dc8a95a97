"""Two processes on the CPU: shards do not overlap, clocks are rank 0's, nothing hangs, the ranks end equal."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

import pytest
import torch
import yaml
from torch import Tensor

import frame
from frame.callbacks.checkpoints import read
from frame.engine.reevaluate import evaluate_run
from frame.runs.journal import RECORDS, Journal
from tests.processes import OWN, Process, only_run, python, train
from tests.slow import slow_but

ROOT = Path(__file__).parents[2]
TWO = ["device.gpus=0", "+trainer.devices=2", "+trainer.strategy=ddp"]


def launch(
    words: list[str], cwd: Path, launcher: tuple[str, ...] = (sys.executable,), **environment: str
) -> tuple[int, str]:
    # a hung rank survives SIGTERM: timeout -k kills the launcher, and the process group dies with it
    command = ["timeout", "-k", "5", "100", *launcher, str(ROOT / "train.py")]
    command += ["--config-dir", str(OWN / "config"), *words]
    clean = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "MASTER_PORT")}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**clean, "OMP_NUM_THREADS": "1", **environment}
    )
    return done.returncode, done.stdout + done.stderr


def forked(words: list[str], cwd: Path) -> tuple[int, str]:
    """The same for quick tests: only the second rank, which Lightning starts, is an interpreter of its own."""
    argv = [str(ROOT / "train.py"), "--config-dir", str(OWN / "config"), *words]
    code = f"import runpy, sys; sys.argv[:] = {argv}; runpy.run_path({argv[0]!r}, run_name='__main__')"
    done = python(code, cwd, OMP_NUM_THREADS="1")
    return done.returncode, done.stdout + done.stderr


def _free_port() -> int:
    """One that the system hands out to nobody: tests run side by side, and the ranks listen later."""
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


@contextmanager
def ranks(words: list[str], cwd: Path, nodes: int = 1, **environment: str) -> Iterator[list[Process]]:
    """Two ranks with the variables that torchrun sets, forked like other runs: that spares their imports.

    Args:
        nodes: 2 starts each rank as the only one of its node.
    """
    here = 2 // nodes  # ranks of a node
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": str(here), "TORCHELASTIC_RUN_ID": "none"}
    both |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), **environment}
    command = ["train", "--config-dir", str(OWN / "config"), *words]
    found = [
        Process(command, cwd, RANK=str(rank), GROUP_RANK=str(rank // here), LOCAL_RANK=str(rank % here), **both)
        for rank in (0, 1)
    ]
    try:
        yield found
    finally:
        for rank in found:
            rank.process.kill()


def started_from_outside(words: list[str], cwd: Path, nodes: int = 1, **environment: str) -> tuple[int, str]:
    """The exit code and the output of two such ranks."""
    with ranks(words, cwd, nodes, **environment) as found:
        codes = [rank.wait(100) for rank in found]
        return max(codes, key=abs), "".join(rank.output for rank in found)


def assert_one_process_finds_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluations of the last iteration of experiment=ranks, measured again in this process."""
    monkeypatch.syspath_prepend(str(OWN))
    evaluate_run(run, packages=["toys"])
    records = [r for r in frame.open(run, packages=["toys"]).folder.records if r["iteration"] == 20]
    ours = {r["name"]: r for r in records if r["checkpoint"] != "last"}
    again = {r["name"]: r for r in records if r["checkpoint"] == "last"}
    assert len(ours) > 18 and set(ours) <= set(again)
    for name, record in ours.items():
        assert again[name]["value"] == pytest.approx(record["value"], rel=1e-5, abs=1e-7), name
        if record["standard_error"] is not None:
            assert again[name]["standard_error"] == pytest.approx(record["standard_error"], rel=1e-5), name
        assert all(again[name][key] == record[key] for key in ("n_samples", "estimator", "unit"))


def witnesses(file: Path) -> tuple[list[str], list[float], list[list[int]]]:
    lines = [Path(f"{file}.{rank}").read_text().splitlines() for rank in (0, 1)]
    return [x[0] for x in lines], [float(x[1]) for x in lines], [[int(i) for i in x[2].split()] for x in lines]


@pytest.mark.parametrize("experiment", slow_but(("tiny",), ("tiny", "duel", "pair", "codes", "normalised")))
def test_two_ranks_end_equal(experiment: str, tmp_path: Path) -> None:
    witness = f"+callbacks.witness={{_target_: toys.Witness, file: {tmp_path / 'witness'}}}"
    score = (
        "+callbacks.score={_target_: frame.callbacks.EvaluationCallback, name: Score, evaluate_every: 0.2 seconds,"
        " evaluator: {_target_: toys.Scripted, values: [1, 2]}}"
    )
    stop = "+callbacks.stop={_target_: frame.callbacks.EarlyStopping, monitor: Score, patience: 500}"
    plateau = "+callbacks.plateau={_target_: frame.callbacks.ReduceOnPlateau, monitor: Score, patience: 1, factor: 0.9}"
    words = [f"experiment={experiment}", *TWO, witness, score, stop, "checkpoint.best=Score"]
    words += [plateau] if experiment != "pair" else []  # it has a schedule, which a plateau would contradict
    words += ["train_for=3 epochs", "optimization.average=0.9", "cut_schedules=true"]
    code, output = (forked if experiment == "tiny" else launch)(words, tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)  # one folder
    hashes, seconds, rows = witnesses(tmp_path / "witness")
    assert hashes[0] == hashes[1]
    assert seconds[0] == seconds[1] > 0
    # 1,297 rows: each rank 648 an epoch in 11 batches of 64, the last of 8
    assert len(rows[0]) == len(rows[1]) == 3 * 648
    for epoch in range(3):
        first, second = (set(r[epoch * 648 : (epoch + 1) * 648]) for r in rows)
        assert not first & second and len(first | second) == 1296
    counters = read(run / "checkpoints" / "last.ckpt")["counters"]
    assert counters["iterations"] == 33 and counters["epochs"] == 3 and counters["samples"] == 3 * 1296


@pytest.mark.slow
def test_statistics_that_a_gradient_reads_are_those_of_all_ranks(tmp_path: Path) -> None:
    witness = f"+callbacks.witness={{_target_: toys.Witness, file: {tmp_path / 'witness'}}}"
    code, output = started_from_outside(["experiment=mine", *TWO, witness], tmp_path)
    assert code == 0, output
    hashes, _, _ = witnesses(tmp_path / "witness")
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("experiment", slow_but(("tiny",), ("tiny", "duel", "pair", "codes")))
def test_two_ranks_end_in_the_same_bits_in_stretches_and_batch_by_batch(experiment: str, tmp_path: Path) -> None:
    ends = []
    for name, words in {"stretches": [], "batches": ["+callbacks.each={_target_: toys.EachBatch}"]}.items():
        (tmp_path / name).mkdir()
        words += [f"experiment={experiment}", *TWO, "doctor=null", "train_for=26 iterations", "cut_schedules=true"]
        code, output = started_from_outside([*words, "optimization.average=0.9"], tmp_path / name)
        assert code == 0, output
        assert ("EachBatch" in output) == (name == "batches")
        ends.append(read(only_run(tmp_path / name) / "checkpoints" / "last.ckpt"))
    for key in ("model", "average"):
        assert all(torch.equal(ends[0][key][name], ends[1][key][name]) for name in ends[0][key])
    assert ends[0]["recent"] == ends[1]["recent"]


ENCODER = "{{_target_: frame.architectures.base.MLPEncoder, shape: [1, 8, 8], z_dim: 8, layers: [{}]}}"
CLASSIFIER = (
    "{{_target_: frame.models.Classifier.Classifier,"
    " predictor: {{_target_: frame.architectures.base.Predictor, z_dim: 8}},"
    f" encoder: {ENCODER}}}}}"
)
SGD = "{{_target_: torch.optim.SGD, _partial_: true, lr: '${{params.{}}}'}}"
# models without noise of their own (no sampling of z, no dropout): a gradient is the mean over all rows
NOISELESS = {
    "batch": ["model=Classifier", "params.z_dim=8", "architectures.encoder.layers=[32]"]
    + ["optimization.lr_batch=32"],  # both have twice the rate
    "joint": ["model=Joint", f"model.models={{a: {CLASSIFIER.format(8)}, b: {CLASSIFIER.format(32)}}}"],
    "adversarial": ["model=Contest", "+params.adversary_lr=0.1", "+params.n_adversary_steps=2"]
    + ["~optimization.optimizer", f"+optimization.optimizer={SGD.format('lr')}"]
    + ["~optimization.adversary_optimizer", f"+optimization.adversary_optimizer={SGD.format('adversary_lr')}"],
}


def of_two_and_of_one(
    plain: list[str], lr: str, tmp_path: Path, two_ranks: Sequence[str] = TWO, one_rank: Sequence[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The final weights of two ranks with 32 rows each, and of one process with 64."""
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    # within one epoch: its ragged last batch may lose a row to equal shares
    # SGD, because Adam magnifies rounding if a gradient is near 0
    plain = [*plain, "train_for=15 iterations", "optimization.optimizer._target_=torch.optim.SGD", f"++params.lr={lr}"]
    plain += ["callbacks=null"]  # not the automatic ones, which draw figures
    code, output = started_from_outside([*plain, "++params.batch_size=32", *two_ranks], two)
    assert code == 0, output
    code, output = train([*plain, "++params.batch_size=64", *one_rank], one)
    assert code == 0, output
    ours, theirs = (read(only_run(cwd) / "checkpoints" / "last.ckpt")["model"] for cwd in (two, one))
    return ours, theirs


@pytest.mark.parametrize("procedure", slow_but(("batch",), NOISELESS))
def test_two_ranks_agree_with_one_process_of_twice_the_batch(procedure: str, tmp_path: Path) -> None:
    plain = ["data=digits", f"optimization={procedure}_ADAM", "logging=csv", *NOISELESS[procedure]]
    ours, theirs = of_two_and_of_one(plain, "0.1", tmp_path)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)


NORMALISED = {
    "resnet": ["architectures/encoder=resnet18", "architectures.encoder.backbone.width=4"]
    + ["architectures.encoder.backbone.shared_statistics=true"],
    "convolutions": ["architectures/encoder=conv", "architectures.encoder.layers=[8]"]
    + ["architectures.encoder.batch_norm=true", "architectures.encoder.shared_statistics=true"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMALISED)
def test_shared_statistics_are_those_of_one_process_with_all_rows(name: str, tmp_path: Path) -> None:
    plain = ["data=digits", "model=Classifier", "logging=csv", "params.z_dim=8", *NORMALISED[name]]
    ours, theirs = of_two_and_of_one(plain, "0.01", tmp_path)
    assert any("running" in key for key in theirs)
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_averages_over_a_batch_are_those_of_all_ranks(accumulate: int, tmp_path: Path) -> None:
    # a codebook moves to the means of the vectors of both ranks, and of all batches of an accumulation
    plain = ["experiment=codes", "params.revive_below=0", f"optimization.accumulate={accumulate}"]
    ours, theirs = of_two_and_of_one(plain, "1e-4", tmp_path)
    assert (theirs["N"] > 1).any()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", slow_but(("null",), ("null", "0.8")))
def test_evaluations_of_two_ranks_find_what_one_process_finds(
    average: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same weights, with rank 0's running statistics; and nobody waits for a rank that fails."""
    witness = f"+callbacks.witness={{_target_: toys.Witness, file: {tmp_path / 'witness'}}}"
    code, output = started_from_outside(
        ["experiment=ranks", f"optimization.average={average}", *TWO, witness], tmp_path
    )
    assert code == 0, output
    for name, why in (("Rude", "fails on purpose"), ("Inner", "fails on purpose"), ("Empty", "rank 1 has no number")):
        how = "has no number" if name == "Empty" else "failed"
        assert output.count(f"{name} {how} at iteration 10; training goes on") == 1 and why in output, output
    assert output.count("raised on rank 1") >= 2
    hashes, _, _ = witnesses(tmp_path / "witness")
    assert hashes[0] != hashes[1], "the ranks' running statistics differ"
    assert_one_process_finds_the_same(only_run(tmp_path), monkeypatch)


@pytest.mark.slow
def test_watching_changes_nothing_on_any_rank(tmp_path: Path) -> None:
    callbacks = yaml.safe_load((OWN / "config" / "experiment" / "ranks.yaml").read_text())["callbacks"]
    hashes = []
    for name, words in {"watched": [], "alone": [f"~callbacks.{key}" for key in callbacks]}.items():
        cwd = tmp_path / name
        cwd.mkdir()
        witness = f"+callbacks.witness={{_target_: toys.Witness, file: {cwd / 'witness'}}}"
        code, output = started_from_outside(["experiment=ranks", *TWO, *words, witness], cwd)
        assert code == 0, output
        hashes.append(witnesses(cwd / "witness")[0])
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_a_first_failure_on_one_rank_ends_the_run_on_all(tmp_path: Path) -> None:
    first = "+callbacks.rude.evaluator.from_call=2"  # the dry run takes one
    code, output = started_from_outside(["experiment=ranks", *TWO, first], tmp_path)
    assert code != 0 and "rank 1 fails on purpose" in output
    status = json.loads((only_run(tmp_path) / "status.json").read_text())
    assert status["state"] == "failed" and "rank 1 fails on purpose" in status["reason"]


@pytest.mark.parametrize("killed", slow_but((1,), (0, 1)))
def test_who_is_left_by_a_killed_rank_says_how_to_go_on(killed: int, tmp_path: Path) -> None:
    with ranks(["experiment=tiny", *TWO], tmp_path, BREAK="SIGKILL 12", BREAK_RANK=str(killed)) as found:
        codes = [rank.wait(60) for rank in found]
        left = found[1 - killed].output
    assert (codes[killed], codes[1 - killed]) == (-9, 1), left
    assert "fault of frame" not in left and "Traceback" not in left, left
    if killed == 1:
        run = only_run(tmp_path)
        said = "another process of this run ended or does not answer; if it said why, mend that. Then: "
        assert said in left and f"resume={run}" in left, left
        assert json.loads((run / "status.json").read_text())["state"] == "failed"


@pytest.mark.slow
def test_ranks_that_are_started_from_outside_share_one_folder(tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    code, output = launch(["experiment=tiny", *TWO], tmp_path, torchrun)
    assert code == 0, output
    assert read(only_run(tmp_path) / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 50


@pytest.mark.slow
def test_a_killed_run_of_two_ranks_resumes(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    code, output = launch(["experiment=tiny", *TWO], straight)
    assert code == 0, output
    code, output = launch(["experiment=tiny", *TWO], broken, BREAK="SIGTERM 12")
    assert code == 143, output
    run = only_run(broken)
    code, output = launch([f"resume={run}"], broken)
    assert code == 0, output
    ours, theirs = (read(folder / "checkpoints" / "last.ckpt") for folder in (run, only_run(straight)))
    assert all(torch.equal(ours["model"][k], theirs["model"][k]) for k in theirs["model"])


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_to_a_rank_ends_an_evaluation_of_all(signalled: int, tmp_path: Path) -> None:
    slow = "{_target_: frame.callbacks.EvaluationCallback, name: slow, evaluate_every: 20 iterations, "
    slow += "evaluator: {_target_: toys.SlowChunks}}"
    words, folders = ["experiment=tiny", "doctor=null", f"+callbacks.slow={slow}", *TWO], []
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        folders.append(tmp_path / name)
    whole, broken = folders
    assert launch(words, whole)[0] == 0
    with ranks(words, broken, SLOW="2") as (first, second):
        while "measuring" not in first.output or "measuring" not in second.output:
            assert first.process.is_alive() and second.process.is_alive(), first.output + second.output
            time.sleep(0.05)
        started = time.monotonic()
        os.kill((first, second)[signalled].process.pid or 0, signal.SIGTERM)
        assert [rank.wait(60) for rank in (first, second)] == [143, 143], first.output + second.output
        assert time.monotonic() - started < 5
    run = only_run(broken)
    code, output = launch([f"resume={run}"], broken)
    assert code == 0, output
    ours, theirs = (Journal(only_run(folder) / RECORDS).read() for folder in folders[::-1])
    seen = [sorted((one["name"], one["iteration"], one["value"]) for one in each) for each in (ours, theirs)]
    assert seen[0] == seen[1]
    ours, theirs = (read(folder / "checkpoints" / "last.ckpt")["model"] for folder in (run, only_run(whole)))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
