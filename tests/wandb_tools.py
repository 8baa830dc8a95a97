"""Reads W&B's files, and calls its functions, for tests."""

import copy
import json
import struct
from pathlib import Path
from typing import Any

import wandb
import yaml
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

BLOCK = 32768


def records(folder: Path) -> list[Any]:
    """The records of all the runs recorded below `folder`, oldest run first; the runs must be finished."""
    wandb.teardown()  # waits for W&B's process, which still writes after `finish` has returned
    found = []
    for path in sorted(folder.glob("wandb/*run-*/*.wandb")):
        data, position, body = path.read_bytes(), 7, b""
        assert data.startswith(b":W&B")
        while position + 7 <= len(data):
            if BLOCK - position % BLOCK < 7:  # too little room for a header: the block's end is padding
                position += BLOCK - position % BLOCK
                continue
            _, length, kind = struct.unpack("<IHB", data[position : position + 7])
            body += data[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):  # a whole record, or its last part
                record = Record()
                record.ParseFromString(body)
                found.append(record)
                body = b""
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records(folder)
        if record.WhichOneof("record_type") == "history"
    ]


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records(folder):
        for update in (record.run.config.update, record.config.update):
            found |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in update}
    return found


def agent_command(sweep: Path, values: dict[str, Any]) -> list[str]:
    """The whole command line that `wandb agent` runs for one choice of the sweep's parameters."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # seconds to import

    command = create_sweep_command(copy.deepcopy(yaml.safe_load(sweep.read_text())["command"]))
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"]}
    macros["program"] = [yaml.safe_load(sweep.read_text())["program"]]
    line: list[str] = []
    for word in command:
        line += macros[word[2:-1]] if word.startswith("${") else [str(word)]
    return line


def hydra_overrides(command: list[str]) -> list[str]:
    """The words after the program, which Hydra reads."""
    return command[command.index("train.py") + 1 :]
