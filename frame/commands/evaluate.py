"""`frame evaluate`: finished runs, measured again."""

from collections.abc import Sequence

from frame.commands.beside import trust
from frame.commands.parser import COMMANDS, parse
from frame.common.errors import UserError, choices
from frame.composition.compose import chosen_evaluation
from frame.composition.folders import use_own_folder


def run(words: Sequence[str]) -> int:
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
