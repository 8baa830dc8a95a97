"""Sweeps as commands: each cell runs once, with one worker or several, killed or not, and is skipped afterwards."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.stored import resolved, stored
from frame.runs.folder import RunFolder
from frame.runs.listing import find
from frame.sweeps.clusters import exit_code, run_rank
from frame.sweeps.handles import run_here
from frame.sweeps.launchers import is_one_process, ranks_of
from frame.sweeps.sweep import RETURNS
from frame.sweeps.workers import Lock, Worker, lives
from tests.processes import OWN, Process
from tests.slow import slow_but

FAKE = Path(__file__).parents[1] / "analysis/fake.py"
CLONE = Path(__file__).parents[2]
GRID: dict[str, Any] = {
    "program": str(FAKE),
    "command": ["${env}", "${interpreter}", "${program}", "+experiment=tiny", "${args_no_hyphens}"],
    "method": "grid",
    "metric": {"name": "ELBO/Validation", "goal": "maximize"},
    "parameters": {"params.beta": {"values": [0.5, 1.0, 2.0]}},
}


# the worker looks ten times as often
BRISK = (
    "import time, types; from frame.sweeps import sweep;"
    "sweep.time = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda s, wait=time.sleep: wait(s / 10))\n"
)


def write(cwd: Path, **changes: Any) -> Path:
    file = cwd / "sweep.yml"
    file.write_text(yaml.safe_dump({**GRID, **changes}))
    return file


def start(cwd: Path, *words: str, first: str = "", **environment: str) -> Process:
    given = {"FAKE_STARTS": str(cwd / "starts"), "PYTHONPATH": str(CLONE), **environment}
    command = ["sweep", "sweep.yml", "folder=study", "--config-dir", str(OWN / "config"), *words]
    return Process(command, cwd, first=BRISK + first, **given)


def sweep(cwd: Path, *words: str, **environment: str) -> tuple[int, str]:
    process = start(cwd, *words, **environment)
    return process.wait(), process.output


def starts(cwd: Path) -> list[tuple[str, str]]:
    """The starts: the name of a new cell, or of a resumed run."""
    found = []
    for line in (cwd / "starts").read_text().splitlines():
        match = re.search(r"experiment_name='?([^' ]+)|resume=\S+/runs/([^/]+)/", line)
        assert match is not None
        found.append((match[1] or "", match[2] or ""))
    return found


def names(cwd: Path) -> Counter[str]:
    return Counter(name or resumed for name, resumed in starts(cwd))


def wait_for(condition: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def group_lives(process: Process) -> bool:
    assert process.process.pid is not None
    try:
        os.killpg(process.process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_point_with_every_seed_once_then_never_again(tmp_path: Path) -> None:
    write(tmp_path, parameters={"params.beta": {"values": [0.5, 1.0]}})
    code, output = sweep(tmp_path, "seeds=2", "jobs=2")
    assert code == 0, output
    cells = {f"beta={beta},seed={seed}" for beta in (0.5, 1.0) for seed in (1, 2)}
    assert set(names(tmp_path)) == cells and set(names(tmp_path).values()) == {1}
    assert "4 of 4 runs finished" in output and "best     ELBO/Validation -0.2, mean of 2 seeds: beta=1.0" in output
    assert {run.path.parent.name for run in find([tmp_path / "study"])} == cells
    code, output = sweep(tmp_path, "seeds=2")
    assert code == 0 and len(starts(tmp_path)) == 4, output
    # more seeds and values are more cells
    write(tmp_path, parameters={"params.beta": {"values": [0.5, 1.0, 2.0]}})
    code, output = sweep(tmp_path, "seeds=3", "jobs=2")
    assert code == 0 and len(starts(tmp_path)) == 9 and set(names(tmp_path).values()) == {1}, output


def test_a_run_that_fails_is_one_line_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path, parameters={"params.beta": {"values": [13, 1.0]}})
    code, output = sweep(tmp_path)
    assert code == 1
    assert "failed   beta=13: the loss is NaN: an unlucky number" in output and "1 of 2 runs finished" in output
    code, output = sweep(tmp_path)
    assert code == 1 and "1 failed before; retry=true tries them again" in output
    assert names(tmp_path)["beta=13"] == 1
    sweep(tmp_path, "retry=true")
    assert names(tmp_path) == Counter({"beta=13": 2, "beta=1.0": 1})


def test_a_run_that_is_killed_is_resumed_by_the_next_command(tmp_path: Path) -> None:
    write(tmp_path, parameters={"params.beta": {"values": [9, 1.0]}})
    code, output = sweep(tmp_path)
    assert code == 1 and "beta=9: was killed (SIGKILL); the same command resumes it" in output
    (run,) = find([tmp_path / "study/runs/beta=9"])
    (run.path / "config.yaml").write_text("params: {beta: 3.0}\n")
    (run.path / "checkpoints/last.ckpt").touch()
    code, output = sweep(tmp_path)
    assert code == 0 and starts(tmp_path)[-1] == ("", "beta=9"), output
    assert len(find([tmp_path / "study/runs/beta=9"])) == 1


def test_several_workers_share_the_cells_and_take_over_those_of_a_killed_one(tmp_path: Path) -> None:
    write(tmp_path, parameters={"params.beta": {"values": [round(0.1 * n, 1) for n in range(1, 9)]}})
    first = start(tmp_path, FAKE_SLEEP="0.3")
    wait_for(lambda: (tmp_path / "starts").exists())
    assert first.process.pid is not None
    os.kill(first.process.pid, signal.SIGKILL)
    others = [start(tmp_path, FAKE_SLEEP="0.1") for _ in range(3)]
    assert [worker.wait() for worker in others] == [0, 0, 0]
    assert "8 of 8 runs finished" in others[-1].output
    finished = [run for run in find([tmp_path / "study"]) if run.status["state"] == "finished"]
    assert len(finished) == 8
    # the run outlived its worker and was not started again
    assert set(names(tmp_path).values()) == {1} and len(names(tmp_path)) == 8


def test_a_cell_whose_worker_was_killed_before_it_had_a_folder_is_not_started_twice(tmp_path: Path) -> None:
    write(tmp_path)
    first = start(tmp_path, FAKE_IMPORTS="2")
    wait_for(lambda: (tmp_path / "starts").exists())
    assert first.process.pid is not None
    os.kill(first.process.pid, signal.SIGKILL)
    code, output = sweep(tmp_path)
    assert code == 0 and "3 of 3 runs finished" in output, output
    assert set(names(tmp_path).values()) == {1} and len(names(tmp_path)) == 3


def test_the_lock_of_a_killed_worker_is_taken_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    worker, other = Worker(tmp_path / "workers"), Worker(tmp_path / "workers")
    file = tmp_path / "claims.lock"
    file.symlink_to(f"{other.name}x")  # of an unknown worker
    Lock(file, worker).acquire()
    assert os.readlink(file) == worker.name
    waits = threading.Thread(target=Lock(file, other).acquire)
    waits.start()
    time.sleep(1.5)
    assert os.readlink(file) == worker.name
    Lock(file, worker).release()
    waits.join(10)
    assert os.readlink(file) == other.name
    other.close()  # as when it dies
    Lock(file, worker).acquire()
    worker.close()


def test_a_job_whose_worker_died_in_the_queue_does_not_begin(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    made = [sys.executable, "-c", "open('made', 'w').close()"]
    assert run_here(made, str(tmp_path), str(tmp_path / "log"), str(worker.file)) == 0
    (tmp_path / "made").unlink()
    worker.close()
    assert run_here(made, str(tmp_path), str(tmp_path / "log"), str(worker.file)) < 0
    elsewhere = tmp_path / "another.machine-1-abc"
    elsewhere.touch()
    assert lives(elsewhere)
    os.utime(elsewhere, (time.time() - 100,) * 2)
    assert not lives(elsewhere) and not (tmp_path / "made").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])  # submitit_local's way to cancel a job, and Ray's
def test_a_job_that_is_cancelled_lets_its_run_save(tmp_path: Path, number: int) -> None:
    worker = Worker(tmp_path)
    run = "import signal, sys, time, pathlib; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(3)));"
    run += "signal.signal(signal.SIGINT, signal.SIG_IGN); pathlib.Path('runs').touch(); time.sleep(60)"
    given = ([sys.executable, "-c", run], str(tmp_path), str(tmp_path / "log"), str(worker.file), True)
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += f"from frame.sweeps.handles import run_here; raise SystemExit(run_here(*{given}))"
    job = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(CLONE)})
    wait_for(lambda: (tmp_path / "runs").exists())
    job.send_signal(number)
    assert job.wait(30) == 3 and (tmp_path / "log").read_text() == ""
    worker.close()


@pytest.mark.parametrize(
    ("seconds", "loaded"),
    slow_but([(0.3, "asleep")], [(0.3, "asleep"), (0.2, "frame.engine.experiment"), (1.5, "frame.engine.experiment")]),
)
def test_ctrl_c_in_a_terminal_while_the_first_run_loads_is_one_line(
    tmp_path: Path, seconds: float, loaded: str
) -> None:
    """The terminal sends it to all started processes."""
    write(tmp_path, program="train.py")
    (tmp_path / "asleep.py").write_text("import time; time.sleep(1)\n")
    loads = (
        f"from frame.sweeps import launchers; launchers.PRELOADED = [{loaded!r}]; sys.path.append({str(tmp_path)!r})"
    )
    process = start(tmp_path, first=f"import os, sys; os.setpgrp(); {loads}")
    wait_for(lambda: process.output.startswith("study "))
    time.sleep(seconds)
    assert process.process.pid is not None
    os.killpg(process.process.pid, signal.SIGINT)
    assert process.wait() == 130
    wait_for(lambda: not group_lives(process))
    *head, last = process.output.splitlines()
    assert last == "frame: stopped; the same command continues from here"
    assert all(line.startswith(("study ", "  stopping ", "  beta=")) for line in head), process.output
    assert not list((tmp_path / "study").glob("runs/*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_saves_the_runs_and_the_same_command_resumes_them(tmp_path: Path, number: int) -> None:
    write(tmp_path)
    process = start(tmp_path, "jobs=2", FAKE_SLEEP="0.5")
    wait_for(lambda: (tmp_path / "starts").exists() and len(starts(tmp_path)) == 2)
    wait_for(lambda: all(run.records for run in find([tmp_path / "study"])))
    assert process.process.pid is not None
    os.kill(process.process.pid, number)
    assert process.wait() == 130
    assert "the same command continues from here" in process.output
    assert {run.status["state"] for run in find([tmp_path / "study"])} == {"stopped"}
    code, output = sweep(tmp_path)
    assert code == 0, output
    assert sum(bool(resumed) for _, resumed in starts(tmp_path)) == 2 and len(find([tmp_path / "study"])) == 3


def test_bad_runs_are_ended_early_and_not_run_again(tmp_path: Path) -> None:
    ends = {"type": "hyperband", "min_iter": 2, "eta": 2}
    write(tmp_path, early_terminate=ends, parameters={"params.beta": {"values": [1.0, 4.0]}})
    code, output = sweep(tmp_path, FAKE_SLEEP="0.2")
    assert code == 0, output
    assert "beta=4.0" in output and "ended early by Hyperband after 2 measurements" in output
    (run,) = find([tmp_path / "study/runs/beta=4.0"])
    assert run.status["state"] == "ended early" and 2 <= len(run.records) < 5
    sweep(tmp_path)
    assert len(starts(tmp_path)) == 2


def test_random_search_ends_at_its_cap_and_can_continue(tmp_path: Path) -> None:
    write(tmp_path, method="random", parameters={"params.beta": {"min": 0.1, "max": 2.0}})
    sweep(tmp_path, "run_cap=2", "seeds=2")
    drawn = list(names(tmp_path))
    code, output = sweep(tmp_path, "run_cap=4", "seeds=2", "jobs=2")
    assert code == 0 and "8 of 8 runs finished" in output
    assert len(names(tmp_path)) == 8 and list(names(tmp_path))[:4] == drawn and set(names(tmp_path).values()) == {1}
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", method="random", parameters={"params.beta": {"min": 0.1, "max": 2.0}})
    sweep(tmp_path / "other", "run_cap=4", "seeds=2", "jobs=2")
    assert set(names(tmp_path / "other")) == set(names(tmp_path))  # the same points anywhere


def test_bayes_ends_at_its_cap(tmp_path: Path) -> None:
    write(tmp_path, method="bayes", parameters={"params.beta": {"min": 0.1, "max": 2.0}})
    code, output = sweep(tmp_path, "run_cap=3")
    assert code == 0 and "3 of 3 runs finished" in output, output
    assert len(set(names(tmp_path))) == 3


@pytest.mark.slow
def test_bayes_finds_better_values_than_random_search(tmp_path: Path) -> None:
    wide = {"params.beta": {"distribution": "log_uniform_values", "min": 1e-3, "max": 1e3}}
    found = {}
    for method in ("random", "bayes"):
        (tmp_path / method).mkdir()
        write(tmp_path / method, method=method, parameters=wide)
        code, output = sweep(tmp_path / method, "run_cap=30", "jobs=2")
        assert code == 0 and "30 of 30 runs finished" in output, output
        values = [run.records[-1]["value"] for run in find([tmp_path / method / "study"])]
        found[method] = sorted(values)[-10:][0]  # the tenth best, so that one lucky draw does not count
    assert found["bayes"] > found["random"]


def test_changed_runs_are_named_and_run_again_if_asked(tmp_path: Path) -> None:
    write(tmp_path, parameters={"params.beta": {"values": [1.0]}})
    sweep(tmp_path)
    run = find([tmp_path / "study"])[0]
    from frame.composition.compose import compose
    from frame.composition.folders import use_own_folder

    use_own_folder(OWN / "config")
    words = yaml.safe_load((run.path / "overrides.yaml").read_text())
    config = compose(words)
    run.describe(stored(config, resolved(config)), words)
    code, output = sweep(tmp_path)
    assert "would differ" not in output, output
    config.params.lr = 0.25
    run.describe(stored(config, resolved(config)), [*words, "params.lr=0.25"])
    code, output = sweep(tmp_path)
    assert "1 finished runs would differ today, and are kept; again=true runs them again" in output
    assert "beta=1.0: params.lr 0.25, now 0.001" in output and len(starts(tmp_path)) == 1
    version = run.path / "code.json"
    version.write_text(version.read_text().replace(run.code["sources"], "0" * 16))
    code, output = sweep(tmp_path, "again=true")
    assert "now 0.001, the code" in output and len(starts(tmp_path)) == 2
    assert len(find([tmp_path / "study"])) == 2


@pytest.mark.parametrize(
    ("changes", "words", "said"),
    [
        ({"parameters": {"params.beta": {"distribution": "log"}, "x": {"value": 1}}}, (), "no distribution 'log'"),
        ({"parameters": {"params.bta": {"values": [1]}}}, (), "no key 'params.bta'"),
        ({"metric": {"name": "ELBO/Valid"}}, (), "metric: no evaluation of this experiment 'ELBO/Valid'"),
        ({"metric": {"name": "ELBO/Validation/rat"}}, (), "did you mean 'ELBO/Validation/rate'?"),
        ({"program": "mine.py"}, (), "program: there is no mine.py"),
        ({}, ("jobs=0",), "jobs=0: write a whole number"),
        ({}, ("launcher=slurm",), "no launcher 'slurm'"),
        ({}, ("params.zdim=3",), "no key 'params.zdim'"),
        ({}, ("retry=maybe",), "no retry 'maybe'"),
    ],
)
def test_errors_are_one_line_and_nothing_is_started(
    changes: dict[str, Any], words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    write(tmp_path, **changes)
    code, output = sweep(tmp_path, *words)
    assert code == 2 and said in output, output
    assert output.startswith("frame: ") and output.count("\n") == 1
    assert not (tmp_path / "starts").exists()


def test_a_study_folder_continues_without_its_file_and_keeps_its_goal(tmp_path: Path) -> None:
    write(tmp_path)
    sweep(tmp_path)
    process = Process(
        ["sweep", "study", "seeds=1", "--config-dir", str(OWN / "config")],
        tmp_path,
        FAKE_STARTS=str(tmp_path / "starts"),
    )
    assert process.wait() == 0, process.output
    assert len(starts(tmp_path)) == 6
    write(tmp_path, metric={"name": "ELBO/Validation", "goal": "minimize"})
    code, output = sweep(tmp_path)
    assert code == 2 and "has the goal maximize: set another folder" in output


LAUNCHERS = [(), ("launcher=submitit_local", "launcher.timeout_min=5"), ("launcher=ray", "launcher.num_cpus=1")]


@pytest.mark.parametrize("words", [pytest.param(w, marks=[pytest.mark.slow] if w else []) for w in LAUNCHERS])
def test_real_training_here_and_on_clusters_of_this_machine(tmp_path: Path, words: tuple[str, ...]) -> None:
    if "launcher=ray" in words:
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    write(tmp_path, program="train.py", parameters={"params.beta": {"values": [0.5, 1.0]}})
    process = start(tmp_path, "jobs=2", "train_for='20 iterations'", *words)
    assert process.wait(180) == 0, process.output
    runs = find([tmp_path / "study"])
    assert [run.status["state"] for run in runs] == ["finished"] * 2
    assert [run.config.params.beta for run in runs] == [0.5, 1.0]
    assert all(isinstance(run, RunFolder) and run.records[-1]["iteration"] == 20 for run in runs)


@pytest.mark.slow
def test_a_run_on_two_nodes_is_one_command_and_comes_back_after_it_was_preempted(tmp_path: Path) -> None:
    """Each of two tasks is a node with one rank. Both get SIGTERM at iteration 17, as SLURM sends it."""
    write(tmp_path, program="train.py", parameters={"params.beta": {"values": [1.0]}})
    words = ("+trainer.num_nodes=2", "+trainer.devices=1", "device.gpus=0", "launcher.timeout_min=5", "seeds=1")
    found: list[Any] = []
    for name, environment in (("preempted", {"BREAK": "SIGTERM 17"}), ("straight", {})):
        (folder := tmp_path / name).mkdir()
        write(folder, program="train.py", parameters={"params.beta": {"values": [1.0]}})
        process = start(folder, "launcher=submitit_local", *words, **environment)
        assert process.wait(300) == 0, process.output
        assert ("was ended (SIGTERM) and goes on" in process.output) == bool(environment)
        (run,) = find([folder / "study"])
        assert isinstance(run, RunFolder) and run.status["state"] == "finished"
        found.append(run.checkpoint())
    mine, theirs = found
    assert mine["counters"]["iterations"] == 50
    assert all(torch.equal(value, theirs["model"][name]) for name, value in mine["model"].items())


@pytest.mark.slow
def test_a_run_that_is_ended_again_and_again_without_an_iteration_more_is_given_up(tmp_path: Path) -> None:
    write(tmp_path, program="train.py", parameters={"params.beta": {"values": [1.0]}})
    process = start(tmp_path, "launcher=submitit_local", "launcher.timeout_min=5", BREAK="SIGKILL 17")
    assert process.wait(300) == 1, process.output
    assert process.output.count("was ended (SIGKILL) and goes on") == RETURNS
    assert "was killed (SIGKILL); the same command resumes it" in process.output


def test_nodes_and_processes_of_a_run() -> None:
    def ranks(*words: str, **options: str) -> tuple[int, int]:
        return ranks_of(compose(["experiment=digits_VAE", *words]), options)

    assert ranks() == ranks("device.gpus=0") == ranks("device.gpus=auto") == (1, 1)
    assert ranks("device.gpus=4") == ranks("+trainer.devices=4") == ranks("+trainer.devices=[0,1,2,3]") == (1, 4)
    assert ranks("+trainer.num_nodes=2", "device.gpus=4", "+trainer.devices=2") == (2, 2)
    assert ranks("+trainer.num_nodes=2", "device.gpus=auto", gpus_per_node="8") == (2, 8)
    with pytest.raises(UserError, match=r"number of processes on each of them: \+trainer.devices=4"):
        ranks("+trainer.num_nodes=2", "device.gpus=auto")
    assert not is_one_process(compose(["experiment=digits_VAE", "+trainer.num_nodes=2", "device.gpus=0"]))
    assert [exit_code(codes) for codes in ([0, 0], [0, 1], [143, 143], [1, -9], [0, -9])] == [0, 1, 143, -9, -9]


def test_a_task_is_a_rank_and_saves_when_its_time_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task 3 of a job with two nodes of two ranks, which gets the signal by which SLURM announces the end."""
    for name, value in {"NTASKS": 4, "GLOBALID": 3, "LOCALID": 3, "JOB_ID": 7}.items():
        monkeypatch.setenv(f"SUBMITIT_LOCAL_{name}", str(value))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
        "print(*(os.environ[n] for n in ('NODE_RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT')), flush=True);"
        "os.kill(os.getppid(), signal.SIGUSR2); time.sleep(30)"
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    worker = Worker(tmp_path)
    try:
        given = ([sys.executable, "-c", code], str(tmp_path), str(tmp_path / "log"), str(worker.file))
        assert run_rank(2, *given, passes_on=False) == 143
    finally:
        worker.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (tmp_path / "log").read_text().split() == ["1", "1", "4", "15007"]


def test_a_terminal_shows_the_progress_of_the_study(tmp_path: Path) -> None:
    write(tmp_path)
    main, terminal = pty.openpty()
    process = start(tmp_path, "jobs=2", into=os.ttyname(terminal), FAKE_SLEEP="0.2")
    shown = b""
    while process.process.is_alive() or select.select([main], [], [], 0)[0]:
        if select.select([main], [], [], 0.1)[0]:
            shown += os.read(main, 4096)
    os.close(main)
    os.close(terminal)
    assert process.wait() == 0, shown.decode()
    lines = [line.strip() for line in re.split(r"[\r\n]+", shown.decode()) if line.strip()]
    assert any(re.match(r"0/3 · 2 running · .*beta=0.5 starts", line) for line in lines), lines
    assert any(re.match(r"2/3 · 1 running · about \d+ s left · best -0.2", line) for line in lines), lines
    assert lines[-1].startswith("runs     frame list")
