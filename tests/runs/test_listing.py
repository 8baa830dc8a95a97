"""Many runs: finding, filtering, sorting and showing them, and evaluating each again once."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import frame
from frame.common.errors import UserError
from frame.data.base import DataSet
from frame.engine import opening
from frame.engine.reevaluate import Outcome, evaluate_run, evaluate_runs
from frame.evaluation import codes
from frame.runs.folder import RunFolder
from frame.runs.listing import RunSummary, find, only, select
from tests.analysis import by_hand
from tests.processes import OWN, Process, train


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs that differ in beta; the last was stopped before its end."""
    cwd = tmp_path_factory.mktemp("study")
    for beta in (0.5, 1.0, 2.0):
        code, output = train(["experiment=tiny", f"params.beta={beta}"], cwd, BREAK="SIGTERM 12" if beta == 2.0 else "")
        assert code == (143 if beta == 2.0 else 0), output
    return cwd


def frame_command(words: Sequence[str], cwd: Path) -> tuple[int, str]:
    process = Process(list(words), cwd)
    return process.wait(), process.output


READ_BY_SEVERAL = """
import os, sys
from frame.commands.main import main
from frame.runs import listing
listing.MANY = int(sys.argv.pop(1))
def dies(path):
    os._exit(1)
if sys.argv.pop(1) == "dies":
    listing._read_whole = dies
os.sched_getaffinity = lambda pid: {0, 1, 2}
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked only on Linux")
def test_several_processes_read_what_one_reads(tmp_path: Path) -> None:
    for seed in range(9):
        by_hand.run(tmp_path / "runs" / str(seed), {"beta": seed / 2}, seed, [by_hand.record("ELBO/Test", seed)] * 3)
    (tmp_path / "runs" / "3" / "status.json").write_text("")
    with (tmp_path / "runs" / "5" / "records.jsonl").open("a") as file:
        file.write("broken\n")
    answers = []
    for many, child in ((100, "lives"), (1, "lives"), (1, "dies")):
        command = [sys.executable, "-W", "error", "-c", READ_BY_SEVERAL, str(many), child]
        command += ["list", "columns=[seed,ELBO/Test]"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / f"{many}{child}")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        answers.append((done.returncode, done.stdout, done.stderr))
    assert answers[0] == answers[1] == answers[2] and answers[0][0] == 0
    assert "8 of 8 runs" in answers[0][1] and len(answers[0][2].splitlines()) == 2


def betas(chosen: Sequence[RunSummary]) -> list[float]:
    return [summary.get("params.beta") for summary in chosen]


def summaries(study: Path) -> list[RunSummary]:
    return [RunSummary(run) for run in find([study / "runs"])]


def test_runs_are_found_at_any_depth_and_once(study: Path) -> None:
    runs = [run.path for run in find([study, study / "runs", f"{study}/runs/*/*"])]
    assert len(runs) == 3 and runs == sorted(runs)
    assert [run.path for run in find([runs[0]])] == [runs[0]]
    with pytest.raises(UserError, match="no run in"):
        find([study / "nothing*"])


def test_a_folder_with_one_run_stands_for_it(study: Path, tmp_path: Path) -> None:
    run = find([study])[0].path
    assert only(run) == run
    with pytest.raises(UserError, match=f"has 3 runs: name one of them, such as {study}"):
        frame.open(study)
    cell = tmp_path / "cell"
    shutil.copytree(run, cell / run.name)
    assert frame.open(cell).folder.path == cell / run.name
    with pytest.raises(UserError, match="no run in"):
        frame.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        ([], [0.5, 1.0, 2.0]),
        (["params.beta>0.7"], [1.0, 2.0]),
        (["params.beta=1"], [1.0]),  # as a number: 1 is 1.0
        (["params.beta!=1"], [0.5, 2.0]),
        (["params.beta>=1", "state=finished"], [1.0]),
        (["state=stopped"], [2.0]),
        (["model=vae", "data=Digits"], [0.5, 1.0, 2.0]),
        (["optimization.batch_size<10"], []),  # any key of the config
    ],
)
def test_conditions_choose(study: Path, conditions: list[str], chosen: list[float]) -> None:
    assert betas(select(summaries(study), conditions)) == chosen


def test_sorting_by_a_result_and_by_a_key(study: Path) -> None:
    assert betas(select(summaries(study), [], "-params.beta")) == [2.0, 1.0, 0.5]
    by_result = select(summaries(study), [], "ELBO/Validation")
    values = [summary.get("ELBO/Validation") for summary in by_result]
    assert values == sorted(values) and len(set(values)) == 3


def test_errors_of_listing(study: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'params.beta'"):
        select(summaries(study), ["params.btea=1"])
    with pytest.raises(UserError, match="cannot read 'params.beta'"):
        select(summaries(study), ["params.beta"])
    with pytest.raises(UserError, match="no key or result"):
        select(summaries(study), [], "speed")


def test_a_run_that_was_killed_is_said_to_be(study: Path) -> None:
    run = find([study])[0]
    status = run.path / "status.json"
    kept = status.read_text()
    try:
        status.write_text(kept.replace('"finished"', '"running"'))
        assert RunSummary(run).state == "killed"
        other = RunFolder(run.path)
        other.lock()
        assert RunSummary(run).state == "running"
        other.unlock()
    finally:
        status.write_text(kept)


def test_results_have_a_row_a_number_with_the_parameters_beside_it(study: Path) -> None:
    found = frame.results(study / "runs")
    assert len(found) == sum(len(run.records) for run in find([study]))
    assert set(found["params.beta"]) == {0.5, 1.0, 2.0}
    assert {"run", "experiment", "model", "data", "state", "seed", "name", "value", "split"} <= set(found.columns)
    last = found[found["name"] == "ELBO/Validation"].groupby("params.beta")["iteration"].max()
    assert last.to_dict() == {0.5: 50, 1.0: 50, 2.0: 10}


def test_the_commands_answer_without_torch(study: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    watch = "import sys; from frame.commands.main import main; main(); assert 'torch' not in sys.modules"
    for words, answer in (
        (["list", "runs", "params.beta<1.5", "sort=-params.beta", "columns=[params.beta,state]"], "2 of 3 runs"),
        (["show", "runs"], "frame.models.VAE.VAE"),
    ):
        command = [sys.executable, "-c", watch, *words]
        done = subprocess.run(command, cwd=study, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert answer in done.stdout


def test_list_shows_what_differs_and_show_what_was_found(study: Path) -> None:
    code, output = frame_command(["list"], study)
    assert code == 0 and "params.beta" in output.splitlines()[0] and "params.lr" not in output
    assert output.splitlines()[-1] == "3 of 3 runs"
    code, output = frame_command(["show", str(find([study])[2].path)], study)
    assert code == 0 and "stopped: SIGTERM" in output and "nats per picture" in output
    code, output = frame_command(["list", "state=lost"], study)
    assert code == 2 and "none of 3 runs has state=lost" in output


# Evaluated again

AGAIN = ["evaluate", "--config-dir", str(OWN / "config"), "packages=toys"]


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


def test_many_runs_are_one_command_and_what_is_there_is_skipped(study: Path) -> None:
    code, output = frame_command([*AGAIN, "runs/*/*", "evaluation=[elbo]", "elbo.n_samples=50"], study)
    assert code == 0, output
    assert "[3/3]" in output
    runs = [run.path for run in find([study])]
    for run in runs:
        (record,) = [r for r in lines(run) if r["name"] == "elbo/Test"]
        assert record["n_samples"] == 50 and record["split"] == "test" and record["took"] is not None
        assert record["checkpoint"] == "last" and record["weights"] == ""
    before = {run: (run / "records.jsonl").read_text() for run in runs}
    code, output = frame_command([*AGAIN, "runs", "evaluation=elbo", "elbo.n_samples=50"], study)
    assert code == 0 and output.count("1 of 1 measured already") == 3
    assert all((run / "records.jsonl").read_text() == text for run, text in before.items())
    code, output = frame_command([*AGAIN, str(runs[0]), "evaluation=elbo", "elbo.n_samples=60"], study)
    assert code == 0 and "measured already" not in output  # another protocol is another number
    code, output = frame_command([*AGAIN, str(runs[0]), "evaluation=elbo", "elbo.n_samples=60", "again=true"], study)
    assert code == 0 and len(lines(runs[0])) == len(before[runs[0]].splitlines()) + 8  # four numbers, twice


def test_a_run_that_cannot_be_evaluated_is_named_at_the_end(study: Path) -> None:
    runs = [run.path for run in find([study])]
    checkpoint = runs[0] / "checkpoints" / "last.ckpt"
    kept, previous = checkpoint.read_bytes(), (runs[0] / "checkpoints" / "previous.ckpt").read_bytes()
    try:
        for name in ("last", "previous"):
            (runs[0] / "checkpoints" / f"{name}.ckpt").write_bytes(b"half")
        code, output = frame_command([*AGAIN, "runs", "evaluation=elbo", "elbo.n_samples=70"], study)
        assert code == 1
        assert output.splitlines()[-1].startswith(f"frame: {runs[0].relative_to(study)} was not evaluated:")
        assert all(any(r["n_samples"] == 70 for r in lines(run)) for run in runs[1:])
    finally:
        checkpoint.write_bytes(kept)
        (runs[0] / "checkpoints" / "previous.ckpt").write_bytes(previous)


def test_runs_that_fail_for_one_reason_are_one_line(study: Path) -> None:
    code, output = frame_command([*AGAIN, "runs", "evaluation=[mig]"], study)
    last = output.splitlines()[-1]
    n_others = len(find([study])) - 1
    assert code == 1 and f"and {n_others} more were not evaluated: MIGEvaluation needs 'factors'" in last
    assert output.count("needs 'factors'") == 1


def test_an_evaluation_that_cannot_be_done_is_named_and_the_others_are(study: Path) -> None:
    run = find([study])[1].path
    code, output = frame_command([*AGAIN, str(run), "evaluation=[mig,elbo]", "elbo.n_samples=90"], study)
    assert code == 1
    assert any(r["n_samples"] == 90 for r in lines(run))
    assert "mig/Test was not evaluated: MIGEvaluation needs 'factors'" in output.splitlines()[-1]
    code, output = frame_command([*AGAIN, str(run), "evaluation=[mig]"], study)
    assert code == 2 and "needs 'factors'" in output and "Traceback" not in output


def test_an_interrupted_evaluation_goes_on_where_it_stopped(study: Path) -> None:
    run = find([study])[1].path
    words = [*AGAIN, str(run), "evaluation=[elbo,slow]", "elbo.n_samples=80", "slow.seconds=30"]
    process = Process(words, study)
    for _ in range(600):
        if any(r["n_samples"] == 80 for r in lines(run)):
            break
        time.sleep(0.1)
    assert process.process.pid is not None
    process.process.kill()
    process.process.join()
    assert not any(str(r["name"]).startswith("slow") for r in lines(run))
    code, output = frame_command([*words[:-1], "slow.seconds=0.1"], study)
    assert code == 0 and "1 of 2 measured already" in output and "slow/Validation" in output


def copied(study: Path, to: Path) -> None:
    """A run of the study, as it was before anything was evaluated again."""
    shutil.copytree(
        find([study])[1].path, to, ignore=shutil.ignore_patterns("evaluated.jsonl", "records.jsonl", "cache")
    )
    (to / "records.jsonl").touch()


@pytest.mark.slow
def test_two_hundred_runs_are_one_command_that_can_be_interrupted(study: Path, tmp_path: Path) -> None:
    """One of them is broken. What an interrupt leaves is whole, and what is there is not opened again."""
    runs = [tmp_path / "many" / f"run_{number:03}" for number in range(200)]
    for run in runs:
        copied(study, run)
    for file in (runs[30] / "checkpoints").iterdir():
        file.write_bytes(b"half")
    words = [*AGAIN, "many/*", "evaluation=[elbo]", "elbo.n_samples=40"]

    def measured() -> list[Path]:
        return [run for run in runs if any(r["n_samples"] == 40 for r in lines(run))]

    process = Process(words, tmp_path)
    while not (runs[60] / "evaluated.jsonl").exists() and process.process.is_alive():
        time.sleep(0.05)
    assert process.process.pid is not None
    os.kill(process.process.pid, signal.SIGINT)
    assert process.wait() == 130, process.output
    assert "Traceback" not in process.output
    assert process.output.splitlines()[-1].startswith("frame: interrupted at run ")
    before = measured()
    assert 55 <= len(before) < 199
    started = time.monotonic()
    code, output = frame_command(words, tmp_path)
    assert code == 1 and time.monotonic() - started < 100
    assert output.count("1 of 1 measured already") == len(before)
    assert measured() == runs[:30] + runs[31:]
    assert all(sum(r["n_samples"] == 40 for r in lines(run)) == 4 for run in measured())  # each once
    assert re.search(r"^\[190/200\] about \d+ (s|min) left: ", output, re.MULTILINE)
    assert output.splitlines()[-1].startswith("frame: many/run_030 was not evaluated: ")


def test_a_complete_run_is_skipped_without_its_config_or_its_weights(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    copied(study, run)
    chosen = {"elbo": {"_target_": "frame.evaluation.elbo.ELBOEvaluation", "evaluate_on": "test", "n_samples": 30}}
    assert evaluate_run(run, chosen=chosen, packages=["toys"])[:2] == (1, {})
    with monkeypatch.context() as patched:
        patched.setattr("frame.engine.reevaluate.OpenRun", lambda *_, **__: pytest.fail("opened"))
        assert evaluate_run(run, chosen=chosen)[:2] == (0, {})
        assert "1 of 1 measured already" in capsys.readouterr().out
        with pytest.raises(pytest.fail.Exception):
            evaluate_run(run, chosen=chosen, weights="raw")
        os.utime(run / "checkpoints" / "last.ckpt")  # trained on since, for all that is known
        with pytest.raises(pytest.fail.Exception):
            evaluate_run(run, chosen=chosen)
    assert evaluate_run(run, chosen=chosen, packages=["toys"])[:2] == (0, {})  # the same iteration after all


def test_runs_on_the_same_data_read_it_once(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    whole = opening.build_data

    def watched(*arguments: Any) -> DataSet:
        built.append("data")
        return whole(*arguments)

    monkeypatch.setattr(opening, "build_data", watched)
    folders = []
    for i, binarize in enumerate(("dynamic", "dynamic", "none", "none")):
        folders.append(tmp_path / f"run_{i}")
        copied(study, folders[-1])
        config = folders[-1] / "config.yaml"
        config.write_text(config.read_text().replace("binarize: dynamic", f"binarize: {binarize}"))
    chosen = {"elbo": {"_target_": "frame.evaluation.elbo.ELBOEvaluation", "evaluate_on": "test", "n_samples": 30}}
    assert evaluate_runs(folders, chosen=chosen, packages=["toys"]).code == 0
    assert len(built) == 2
    values = [next(r["value"] for r in lines(folder) if r["name"] == "elbo/Test") for folder in folders]
    assert values[0] == values[1] != values[2] == values[3]


def test_a_run_beside_another(study: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "study" / "a", tmp_path / "study" / "b"
    copied(study, a)
    shutil.copytree(find([study])[0].path, b)
    for beside in ("a", "b"):
        words = [*AGAIN, str(a), "evaluation=[similarity]", f"similarity.other={tmp_path}/study/{beside}"]
        code, output = frame_command(words, tmp_path)
        assert code == 0, output
    found: dict[str, Any] = {str(r["name"]): r for r in lines(a)}
    for measure in ("cka", "mutual_knn"):
        own, other = (found[f"similarity/Test/{measure}/study/{name}"] for name in "ab")
        assert own["value"] == pytest.approx(1) and own["value"] > other["value"] > 0
        assert re.search(r"mean with mean of study/b \[at iteration \d+\]", str(other["estimator"]))
        assert other["layer"] == "mean"
    assert str(tmp_path) not in (a / "records.jsonl").read_text()
    assert "1 of 1 measured already" in frame_command(words, tmp_path)[1]
    os.utime(b / "checkpoints" / "last.ckpt")  # trained on
    assert "mutual_knn/study/b" in frame_command(words, tmp_path)[1]
    words[-1] = f"similarity.other={a}"
    code, output = frame_command([*words, "similarity.other_layer=featurse"], tmp_path)
    assert code == 2 and "did you mean 'features'" in output
    config = b / "config.yaml"
    config.write_text(config.read_text().replace("binarize: dynamic", "binarize: none"))
    words[-1] = f"similarity.other={b}"
    code, output = frame_command([*words, "again=true"], tmp_path)
    assert code == 1 and "study/b has other data or rows in 'test'" in output.splitlines()[-1]
    code, output = frame_command([*AGAIN, str(a), "evaluation=[similarity]"], tmp_path)
    assert code == 2 and "similarity.other=runs/..." in output and "Traceback" not in output


def test_errors_of_evaluating(study: Path) -> None:
    for words, answer in (
        (["runs", "evaluation=elbow"], "did you mean 'elbo'"),
        (["runs", "evaluation=elbo", "elbo.n_sample=3"], "did you mean 'n_samples'"),
        (["runs", "evaluation=elbo", "mig.n=3"], "no option of evaluate 'mig.n'"),
        (["nowhere", "evaluation=elbo"], "no run in nowhere"),
        ([str(find([study])[0].path), "checkpoint=best"], "no best checkpoint"),
    ):
        code, output = frame_command([*AGAIN, *words], study)
        assert code == 2 and answer in output and "Traceback" not in output, output


# Codes


def test_codes_are_encoded_once_and_belong_to_their_weights(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = frame.open(find([study])[0].path)
    encoded: list[str] = []
    whole = codes._encode

    def watched(model: torch.nn.Module, data: object, split: str, *rest: object) -> codes.Codes:
        encoded.append(split)
        return whole(model, data, split, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(codes, "_encode", watched)
    plain = codes.codes_of(run.model, run.data_set, "test", "mean")
    with codes.caching(tmp_path / "cache"):
        for _ in range(3):
            found = codes.codes_of(run.model, run.data_set, "test", "mean")
        assert torch.equal(found.codes, plain.codes) and found.y is not None and len(found.y) == 300
        assert encoded == ["test", "test"]
        codes.codes_of(run.model, run.data_set, "test", "sample")
        codes.codes_of(run.model, run.data_set, "test", "mean", n_samples=10)
        codes.codes_of(run.model, run.data_set, "valid", "mean")
        assert len(encoded) == 5
        with torch.no_grad():
            next(run.model.parameters()).add_(1e-3)
        changed = codes.codes_of(run.model, run.data_set, "test", "mean")
        assert len(encoded) == 6 and not torch.equal(changed.codes, plain.codes)
    with pytest.raises(UserError, match="did you mean 'features'"):
        codes.codes_of(run.model, run.data_set, "test", "feature")


def test_what_a_run_cost_is_known(study: Path) -> None:
    first = summaries(study)[0]
    assert first.get("parameters") == sum(p.numel() for p in frame.load(first.run.path).parameters())
    samples = first.status["counters"]["samples"]  # the last batch of each pass is a short one
    assert first.get("flops") == pytest.approx(first.get("flops_per_sample") * samples)
    assert 64 * 48 < samples <= 64 * 50 and first.get("flops_per_sample") > 0
    assert first.get("epochs") == pytest.approx(50 * 64 / 1297, rel=0.1) and first.get("seconds") > 0


def _interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


def _another_error(*_: object, **__: object) -> None:
    try:
        _interrupted()
    except KeyboardInterrupt:
        raise ValueError("half a config") from None


def _swallowed(*_: object, **__: object) -> Outcome:
    with contextlib.suppress(KeyboardInterrupt):
        _interrupted()
    return Outcome(1, {})


def _between_two_runs(*_: object) -> str:
    _interrupted()
    return ""


@pytest.mark.parametrize(
    ("what", "how"),
    [("evaluate_run", _another_error), ("evaluate_run", _swallowed), ("_left", _between_two_runs)],
)
def test_ctrl_c_counts_wherever_it_arrives(
    what: str,
    how: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Seen: OmegaConf, interrupted while it read a config, raised its own error; and a CI run in between two runs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    monkeypatch.setattr(f"frame.engine.reevaluate.{what}", how)
    assert evaluate_runs([tmp_path / str(number) for number in range(3)]).code == 130
    assert "frame: interrupted at run 1 of 3" in capsys.readouterr().out
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
