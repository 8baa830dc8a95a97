"""`frame evaluate`: finished runs, measured again."""

import math
from collections.abc import Sequence

from frame.commands.beside import trust
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import device, names, one_of, text, truth
from frame.common.errors import UserError, choices
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "evaluate",
    "RUN [RUN ...]",
    "measures finished runs again, or in other ways; what is recorded already is skipped",
    {
        "evaluation": Key(names, "evaluations of config/evaluation/", "those of the run", among="evaluations"),
        "evaluate_on": Key(text, "the split: train, valid or test", "that of each evaluation", "test"),
        "checkpoint": Key(one_of("last", "best"), "which weights of the run", "last"),
        "weights": Key(
            one_of("average", "raw"), "averaged ones, if the run keeps them, or raw ones", "as the run says"
        ),
        "source": Key(one_of("trained", "now"), "your own modules: as the run was trained, or as they are", "trained"),
        "packages": Key(names, "packages of yours that a run's config may build from", "none"),
        "device": Key(device, "where the model is evaluated; auto: a GPU if there is one", "auto"),
        "again": Key(truth, "measure again what is recorded already", "false"),
        "allow_test": Key(truth, "let an evaluation fit something on test", "false"),
    },
    (
        ("frame evaluate runs/digits_VAE/2026-11-28_10-00-00 evaluate_on=test", "a run's own evaluations, on test"),
        ("frame evaluate 'runs/*/*' evaluation=elbo,knn elbo.n_samples=1000", "two others, of many runs"),
    ),
    others="NAME.ARGUMENT=value, an argument of an evaluation that is named: elbo.n_samples=1000",
    places=(1, math.inf),
    needs="evaluate needs a run",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame evaluate`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    trust(typed.options.get("packages", []))
    names = typed.options.pop("evaluation", [])
    arguments = dict(word.split("=", 1) for word in typed.others)
    for name in arguments:
        if name.split(".")[0] not in names or "." not in name:
            raise UserError(choices(name, COMMAND.keys, kind="option of evaluate"))
    from frame.composition.compose import chosen_evaluation

    chosen = {name: chosen_evaluation(name, arguments) for name in names} or None
    from frame.runs.listing import find

    folders = [run.path for run in find(typed.places)]
    from frame.engine.reevaluate import evaluate_runs

    return evaluate_runs(folders, chosen=chosen, **typed.options).code
