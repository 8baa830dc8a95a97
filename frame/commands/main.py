"""The command `frame`; `python train.py` is `frame train`. Nothing here imports torch before a run needs it."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from frame.commands import many
from frame.commands.beside import trust
from frame.commands.parser import COMMANDS, own_folder, parse
from frame.common import output, selection
from frame.common.errors import UserError, choices
from frame.common.interrupts import Interrupted
from frame.composition.compose import PARTS, chosen_evaluation, compose, config_folder, normalise, use_own_folder
from frame.composition.settings import check_parts, check_read

USAGE = """frame: representation-learning experiments composed from YAML

  frame train +experiment=digits_VAE        train (python train.py does the same)
  frame train resume=runs/...               go on where a run stopped
  frame evaluate runs/... evaluate_on=test  a run's own evaluations, on another split
  frame evaluate 'runs/*/*' evaluation=[...] other ones, of many runs; what is there is skipped
  frame list runs state=finished sort=...   runs beside one another, by any key or result
  frame show runs/...                       what a run is, where it stands, what it found
  frame export runs/... format=onnx         weights, config, source, results and a model card, for others
  frame new model MyVAE                     a file, its YAML and its test, ready to run; also data, evaluation, ...
  frame sweep sweeps/VAE_MNIST.yml seeds=5  a W&B sweep file on this machine: many runs, resumed where they stopped
  frame compare runs/studies/... metrics=[...] rows over seeds: intervals, paired differences, CSV, Markdown, LaTeX
  frame plot runs/studies/... x=params.beta y=... a figure as PDF with its numbers; also over seconds, epochs, ...
  frame report runs/studies/... out=report.html one file with tables, figures, pictures, configs and commands
  frame train --help                        experiments and options
  eval "$(frame -sc install=bash)"          tab completion (also zsh, fish)
"""
PRINTING = ("help", "--version", "list", "show", "compare")  # commands whose work is what they print
HYDRA_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--resolve")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code, 0 only where the work is done; what is printed cannot stop it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with output.guarded():
        code = _answered(words)
        prints = not words or words[0] in PRINTING or any(word.split("=")[0] in HYDRA_FLAGS for word in words)
        lost = output.lost() if prints and code == 0 else ""
        if lost:
            print(f"frame: what was printed could not be written: {lost}", file=sys.stderr)
        return 1 if lost else code


def _answered(words: list[str]) -> int:
    try:
        return _dispatch(words)
    except UserError as mistake:
        print(f"frame: {' '.join(str(mistake).splitlines())}", file=sys.stderr)  # a run's names may have several
        return 2
    except KeyboardInterrupt as signalled:
        print("frame: interrupted", file=sys.stderr)
        return signalled.code if isinstance(signalled, Interrupted) else 130
    except SystemExit as ended:  # from Hydra, or a library
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except OSError as error:
        if error.errno not in output.UNWRITABLE:
            traceback.print_exc()
        else:
            where = f" ({error.filename})" if error.filename else ""
            print(f"frame: {error.strerror}{where}: make room, and give the command again", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1


def _dispatch(words: list[str]) -> int:
    if "-sc" in words or "--shell-completion" in words:
        return _complete(words)
    if not words or words[0] in ("--help", "-h", "help"):
        print(USAGE)
        return 0
    if words[0] == "--version":
        from frame import __version__

        print(__version__)
        return 0
    if words[0] not in RUN:
        raise UserError(choices(words[0], RUN, kind="command"))
    if words[0] != "train" and any(word in ("--help", "-h") for word in words[1:]):
        print(COMMANDS[words[0]].usage)
        return 0
    return RUN[words[0]](words[1:])


def train(words: Sequence[str]) -> int:
    """`frame train` and `python train.py`."""
    if any(word in ("-m", "--multirun") for word in words):
        raise UserError(
            "-m: a sweep is one process a run here: write a sweep file, such as sweeps/VAE_MNIST.yml, for `frame sweep`"
        )
    if any(word.split("=")[0] in HYDRA_FLAGS for word in words):
        overrides, folder = own_folder(words)
        use_own_folder(folder)
        return _hydra(overrides)
    typed = parse(COMMANDS["train"], words)
    use_own_folder(typed.config_dir)
    if "resume" in typed.options:
        from frame.engine.experiment import resume

        return resume(Path(typed.options["resume"]), typed.others)
    config = compose(typed.others)
    check_read(config)  # mistakes of composition answer before torch is imported
    check_parts(config)
    from frame.engine.experiment import train as run

    return run(config, typed.others)


def evaluate(words: Sequence[str]) -> int:
    """`frame evaluate RUN [RUN ...] [evaluation=[a,b]] [a.n_samples=100] [evaluate_on=test] [checkpoint=best] ...`."""
    typed = parse(COMMANDS["evaluate"], words)
    use_own_folder(typed.config_dir, trains=False)
    trust(typed.options.get("packages", []))
    names = typed.options.pop("evaluation", [])
    arguments = dict(word.split("=", 1) for word in typed.others)
    for name in arguments:
        if name.split(".")[0] not in names or "." not in name:
            raise UserError(choices(name, COMMANDS["evaluate"].options, kind="option of evaluate"))
    chosen = {name: chosen_evaluation(name, arguments) for name in names} or None
    from frame.runs.listing import find

    folders = [run.path for run in find(typed.places)]
    from frame.engine.reevaluate import evaluate_runs

    return evaluate_runs(folders, chosen=chosen, **typed.options)


def show(words: Sequence[str]) -> int:
    """`frame show RUN [RUN ...]`."""
    typed = parse(COMMANDS["show"], words)
    from frame.runs.listing import each, find
    from frame.runs.listing import show as shown

    print("\n\n".join(each(find(typed.places), shown)))
    return 0


def list_runs(words: Sequence[str]) -> int:
    """`frame list [FOLDER ...] [key=value] ['key>value'] [sort=-key] [columns=[a,b]]`."""
    from frame.runs.listing import CONDITION, find, select, summaries, table, varying

    typed = parse(COMMANDS["list"], words)
    sort = typed.options.get("sort", "")
    places: list[str] = []
    conditions = list(typed.others)
    for word in typed.places:
        is_condition = not Path(word).exists() and "*" not in word and any(sign in word for sign in "<>")
        (conditions if is_condition else places).append(word)
    everything = summaries(find(places or ["runs"]))
    chosen = select(everything, conditions, sort or None)
    if not chosen:
        raise UserError(f"none of {len(everything)} runs has {' and '.join(conditions)}")
    asked = [match[1] for condition in conditions if (match := CONDITION.fullmatch(condition))]
    asked += [sort.removeprefix("-")] if sort else []
    columns = typed.options.get("columns") or list(
        dict.fromkeys(["run", "state", "iteration", *PARTS[:2], *varying(chosen), *asked])
    )
    print(table([{column: summary.get(column) for column in columns} for summary in chosen], columns))
    print(f"\n{len(chosen)} of {len(everything)} runs")
    by = sort.removeprefix("-")
    if any(selection.on_test(record) for summary in chosen if by and (record := summary.record(by)) is not None):
        print(f"sorted by {by}, which is measured on test: whoever picks a run here has chosen it on test")
    return 0


RUN = {
    "train": train,
    "sweep": many.sweep,
    "compare": many.compare,
    "plot": many.plot,
    "report": many.report,
    "evaluate": evaluate,
    "list": list_runs,
    "show": show,
    "new": many.new,
    "export": many.export,
}


def _hydra(overrides: Sequence[str]) -> int:
    """Hydra's own answers: --help, --cfg job, --info, completion. It never runs the job."""
    import hydra

    values = [word for word in overrides if not word.startswith("-")]
    flags = [word for word in overrides if word.startswith("-")]
    # the word after --cfg, --info and -sc belongs to it, though it looks like nothing else
    for flag in ("--cfg", "-c", "--info", "-i", "-sc", "--shell-completion"):
        if flag in overrides and "=" not in flag:
            after = list(overrides).index(flag) + 1
            if after < len(overrides) and overrides[after] in values:
                values.remove(overrides[after])
                flags.insert(flags.index(flag) + 1, overrides[after])
    if not any(flag in flags for flag in ("-sc", "--shell-completion")):
        compose(values)  # says what is wrong in one line
    sys.argv = [sys.argv[0], *flags, *normalise(values)]

    @hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    def answer(config: object) -> None: ...

    answer()
    return 0


def _complete(words: list[str]) -> int:
    """Tab completion: the subcommands here, all the rest by Hydra."""
    use_own_folder()
    line = os.environ.get("COMP_LINE", "")
    typed = line.split(" ", 1)[1] if " " in line else ""
    if any(word.startswith("query=") for word in words) and "train.py" not in line:
        first, space, rest = typed.lstrip().partition(" ")
        if not space:
            print("\n".join(c for c in RUN if c.startswith(first)))
            return 0
        if first != "train":
            return 0
        shortened = f"frame {rest}"
        os.environ["COMP_POINT"] = str(max(0, int(os.environ.get("COMP_POINT", "0")) - len(line) + len(shortened)))
        os.environ["COMP_LINE"] = shortened
    return _hydra([word for word in words if word != "train"])
