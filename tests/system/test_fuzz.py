"""A grammar of correct and wrong command lines, each in a process forked from one that has imported everything.

Each line does what was typed, or ends with at most four lines of output, exit code 2, no traceback and no folder.
FUZZ_LINES is their number, FUZZ_SEED their seed. A line that fails is printed so that it can be pasted.
"""

import os
import random
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.processes import OWN

LINES = int(os.environ.get("FUZZ_LINES", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
SECONDS = 60
OWN_CONFIG = f"--config-dir={OWN / 'config'}"

VALUES = (
    ["0", "-1", "1", "1.5", "1e3", "nan", "inf", "-inf", "1e400", "99999999999999999999", "true", "false", "null", "no"]
    + [
        "abc",
        "''",
        "[]",
        "{}",
        "[1,2]",
        "[a",
        "{a: 1}",
        "{_target_: os.system}",
        "${nope}",
        "${params.lr}",
        "???",
        "a b",
    ]
    + [
        "010",
        "08",
        "1:30:00",
        "0x10",
        "\u00b2",
        "\u201cabc\u201d",
        "\u2212" + "1",
        "a=b",
        "'\\''",
        "$HOME",
        "../../x",
        "a/b",
    ]
    + [
        "/dev/null",
        "/proc/x",
        "nowhere",
        "file.txt",
        "file.txt/below",
        "locked",
        "line\nbreak",
        ".",
        "~",
        "*",
        "5 epochs",
    ]
)
KEYS = """
params.lr params.beta params.z_dim params.batch_size params params.bta seed seeds seeds.data train_for
train_fro data_rows weights experiment_name checkpoint.every checkpoint.best checkpoint checkpoint.mode
device.gpus device.num_workers device.experiments_root device.data_root device trainer trainer.max_steps
trainer.max_epochs trainer.max_time trainer.min_steps trainer.accumulate_grad_batches
trainer.gradient_clip_val trainer.limit_train_batches trainer.devices trainer.precision
trainer.log_every_n_steps trainer.nope trainer.strategy trainer.detect_anomaly model model.beta model._target_
data data.binarize optimization optimization.clip optimization.accumulate optimization.average
optimization.optimizer.lr optimization.optimizer._target_ optimization.optimizer.betas optimization.rules
architectures architectures.encoder architectures.encoder.layers architectures.encoder.z_dim
architectures.encoderr.layers callbacks callbacks.elbo_valid callbacks.elbo_valid.evaluate_every
callbacks.elbo_valid.name callbacks.x callbacks.elbo_valid.evaluator.n_samples
callbacks.elbo_valid.evaluator.evaluate_on doctor doctor.patience doctor.share doctor.check_every logging
debug experiment hydra.run.dir hydra.nope nope resume optimization.noise_seed allow_test doctor.n_samples
logging.x model/x data@x a.b.c _target_
""".split()
OPTIONS = {
    "list": ["sort", "columns", "state", "params.beta", "nope"],
    "show": ["sort"],
    "compare": ["rows", "metrics", "select", "within", "against", "minimize", "columns", "sort", "out", "mtrics"],
    "plot": ["x", "y", "hue", "band", "log", "title", "kind", "name", "out", "xx"],
    "report": ["metrics", "rows", "out", "outt"],
    "evaluate": ["evaluation", "evaluate_on", "checkpoint", "weights", "packages", "device", "again", "elbo.n_samples"],
    "export": ["out", "checkpoint", "weights", "format", "packages", "tolerance"],
    "sweep": ["seeds", "jobs", "run_cap", "folder", "launcher", "retry", "again", "launcher.x", *KEYS[:12]],
    "new": [],
}
PLACES = ["runs", "nowhere", "file.txt", "/dev/null", "locked", "runs/*", "", "line\nbreak", ".", "broken"]
NAMES = ["model", "data", "evaluation", "nope", "My Model", "class", "../x", "VAE", "Ünicode", "1a", "optimization"]
CONTENTS = (
    ["", "\t- a", "a: 'b", "- a\n", "3", "a: &a [*a]", "method: grid\nmethod: random\n", "method: 3\nparameters: []\n"]
    + ["method: grid\nparameters: {params.beta: {values: 3}}", "method: random\nmetric: x\nparameters: {a: {value: 1}}"]
    + ["method: grid\nparameters: {" + ", ".join(f"p{n}: {{min: 1, max: 1000}}" for n in range(3)) + "}"]
    + ["method: grid\nparameters: {params.bta: {values: [1]}}\ncommand: ['experiment=tiny']"]
    + ["# @package _global_\ntrain_fro: 3\n", "train_for: 3 epochs\n", "# @package _global_\ndefaults: {a: b}\n"]
    + [
        "# @package _GLOBAL_\ndefaults: [digits_VAE]\n",
        "# @package _global_\ndefaults: [mine]\n",
        "\ufeff# a\n",
        "a: \u201cb\u201d",
    ]
    + ["# @package _global_\ndefaults: [digits_VAE, _self_]\nseed: 010\n", "# @package _global_\ndefaults: [[a]]\n"]
    + [
        "# @package _global_\ndefaults: [digits_VAE, _self_]\nparams: {bta: 3}\n",
        "# @package _global_\ndefaults: [nope]\n",
    ]
    + ["# @package _global_\ndefaults: [digits_VAE, _self_]\ntrain_for: 2 iterations\ncallbacks: null\n"]
)


@dataclass
class Line:
    """One command, and the files in its folder."""

    words: list[str]
    files: dict[str, str]

    def __str__(self) -> str:
        return f"frame {shlex.join(self.words)}    {self.files or ''}"


def generate(random: random.Random) -> Line:
    """Generates a line; most have one error or none."""
    kind = random.choice(["train"] * 8 + ["config"] * 2 + ["sweep", "sweep", *OPTIONS])
    if kind in ("train", "config"):
        words = ["train", "experiment=tiny", "train_for=2 iterations"]
        files: dict[str, str] = {}
        if kind == "config":
            words[1] = "experiment=mine"
            ending = random.choice([".yaml"] * 5 + [".yml", ".YAML"])
            files[f"config/experiment/mine{ending}"] = random.choice(CONTENTS)
            words = words[:2] if random.random() < 0.5 else words
        for _ in range(random.choice([0, 1, 1, 1, 2]) if kind == "train" else 0):
            sign = random.choice(["", "", "", "+", "++", "~"])
            words.append(f"{sign}{random.choice(KEYS)}={random.choice(VALUES)}")
        if random.random() < 0.1:
            words.append(
                random.choice(["-x", "--seed=3", "--seed", "seed", "= 3", "seed =3", "\u2013m", "-m", "seed="])
            )
        return Line(words, files)
    words = [kind]
    files = {}
    if kind == "new":
        words += random.sample(NAMES, random.choice([1, 2, 2, 3]))
    elif kind == "sweep":
        files["f.yml"] = random.choice(CONTENTS)
        words.append(random.choice(["f.yml"] * 6 + PLACES))
    else:
        words += random.sample(PLACES, random.choice([0, 1, 1, 2]))
    for _ in range(random.choice([0, 1, 1, 2])):
        if OPTIONS[kind]:
            words.append(f"{random.choice(OPTIONS[kind])}={random.choice(VALUES)}")
    return Line(words, files)


def prepare(line: Line, cwd: Path) -> None:
    cwd.mkdir()
    (cwd / "file.txt").write_text("a file where a folder should be")
    (cwd / "locked").mkdir(mode=0o500)
    (cwd / "line\nbreak").mkdir()
    (cwd / "broken").mkdir()
    (cwd / "broken" / "config.yaml").write_text("a: [")
    (cwd / "broken" / "status.json").write_text("")
    for name, text in line.files.items():
        (cwd / name).parent.mkdir(parents=True, exist_ok=True)
        (cwd / name).write_text(text)


def run(line: Line, cwd: Path) -> tuple[int, str]:
    """The exit code and the output of a fork; -9 if it did not end."""
    output = cwd / ".output"
    child = os.fork()
    if child == 0:
        code = 99
        try:
            stream = os.open(output, os.O_WRONLY | os.O_CREAT)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.setsid()
            os.chdir(cwd)
            own = [] if line.words[0] == "new" or any("config/" in name for name in line.files) else [OWN_CONFIG]
            os.environ["HOME"] = str(cwd)
            sys.argv = ["frame", *line.words, *own]
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            from frame.commands.main import main

            code = main([*line.words, *own])
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), output.read_text(errors="replace")
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -9, output.read_text(errors="replace")


def fault(line: Line, code: int, output: str, cwd: Path) -> str:
    """The fault of an answer, or ''."""
    lines = output.strip().splitlines()
    made = [path for path in (cwd / "runs", cwd / "exports", cwd / "report.html") if path.exists()]
    if "Traceback" in output:
        return f"a traceback: {lines[-1]}"
    if code == -9:
        return f"still running after {SECONDS} s"
    if code == 2:
        if not 1 <= len(lines) <= 4:
            return f"{len(lines)} lines"
        if any(len(text) > 2000 for text in lines):
            return "a line without end"
        return f"a folder was left: {made}" if made else ""
    if code == 0 and line.words[0] == "train":
        stored = list(cwd.glob("**/config.yaml"))
        runs = [file for file in stored if (file.parent / "status.json").exists() and file.parent.name != "broken"]
        if len(runs) != 1:
            return f"exit code 0 and {len(runs)} runs"
        return missing(line, yaml.safe_load(runs[0].read_text()))
    if code == 1 and line.words[0] in ("train", "sweep", "evaluate"):
        return "" if "frame:" in output or "failed" in output else f"exit code 1: {lines[-1:]}"
    return "" if code in (0, 2) else f"exit code {code}"


def missing(line: Line, config: dict[str, object]) -> str:
    """A typed value that is not in the run's config."""
    for word in line.words[1:]:
        key, _, value = word.partition("=")
        node: object = config
        for part in key.lstrip("+").split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if key.startswith("~") or "." not in key and key != "seed" or not value.lstrip("-").isdigit():
            continue
        if not isinstance(node, dict) and float(str(node)) != float(value):
            return f"{word}: the config has {node}"
    return ""


def attack(lines: Sequence[Line], folder: Path) -> list[str]:
    import frame.architectures.base  # noqa: F401
    import frame.engine.experiment  # noqa: F401
    import frame.models.VAE  # noqa: F401
    import frame.sweeps.sweep  # noqa: F401

    faults = []
    for number, line in enumerate(lines):
        cwd = folder / f"{number}"
        prepare(line, cwd)
        code, output = run(line, cwd)
        if what := fault(line, code, output, cwd):
            faults.append(f"{what}\n    {line}")
    return faults


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_every_line_is_answered_or_trained_as_typed(tmp_path: Path) -> None:
    source = random.Random(SEED)
    faults = attack([generate(source) for _ in range(LINES)], tmp_path)
    assert not faults, f"{len(faults)} of {LINES} with FUZZ_SEED={SEED}:\n" + "\n".join(faults)


def test_the_grammar_is_the_same_for_a_seed_and_reaches_all_commands() -> None:
    first, second = ([str(generate(source)) for _ in range(300)] for source in (random.Random(3), random.Random(3)))
    assert first == second and {line.split()[1] for line in first} >= {"train", *OPTIONS}
