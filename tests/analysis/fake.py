"""A user's own program in a sweep, which makes a run's folder like training does, but within milliseconds.

Its measurements approach -(beta - 1)^2. Each start is a line in FAKE_STARTS. FAKE_SLEEP is the seconds of a
measurement, FAKE_IMPORTS the seconds before there is a folder, FAKE_RECORD further entries of a record, as JSON.
"""

import fcntl
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

N_MEASUREMENTS = 5


class Stop(Exception):
    pass


def stop(number: int, frame: FrameType | None) -> None:
    raise Stop


def status(run: Path, state: str, reason: str = "") -> None:
    (run / "new").write_text(json.dumps({"format": 2, "state": state, "reason": reason}))
    os.replace(run / "new", run / "status.json")


def main() -> int:
    typed = [word for word in sys.argv[1:] if not word.startswith("--")]
    words = {key: value.strip("'") for key, value in (word.lstrip("+").split("=", 1) for word in typed)}
    with open(os.environ["FAKE_STARTS"], "a") as starts:
        starts.write(" ".join(typed) + "\n")
    signal.signal(signal.SIGTERM, stop)
    time.sleep(float(os.environ.get("FAKE_IMPORTS", "0")))
    if "resume" in words:
        run = Path(words["resume"])
    else:
        run = Path(words["device.experiments_root"], words["experiment_name"], f"{time.time_ns()}")
        (run / "checkpoints").mkdir(parents=True)
        (run / "records.jsonl").touch()
        (run / "overrides.yaml").write_text(json.dumps(typed))
        (run / "config.yaml").write_text(f"params: {{beta: {words['params.beta']}}}\n")
    lock = (run / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status(run, "running")
    found = re.search(r"beta: (\S+?)}", (run / "config.yaml").read_text())
    assert found is not None
    beta = float(found[1])
    said = json.loads(os.environ.get("FAKE_RECORD", '{"name": "ELBO/Validation"}'))
    if beta == 13:
        print("frame: the loss is NaN: an unlucky number")
        status(run, "failed", "the loss is NaN")
        return 1
    if beta == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        for number in range(len((run / "records.jsonl").read_text().splitlines()), N_MEASUREMENTS):
            time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
            value = -((beta - 1) ** 2) - 1 / (1 + number)
            with (run / "records.jsonl").open("a") as records:
                records.write(json.dumps({**said, "value": value, "iteration": number}) + "\n")
            (run / "checkpoints" / "last.ckpt").touch()
    except Stop:
        status(run, "stopped", "SIGTERM")
        return 143
    status(run, "finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
