"""Evaluations by name: `evaluations: {elbo: {every: 10 seconds, on: [train, valid]}}` becomes callbacks.

Everything else comes from config/evaluation/<name>.yaml. `on` is a split, a list of splits, or a mapping, which
says how often each split is measured, or gives it settings of its own: `on: {valid: 1 epoch, test: {n_samples: 1000}}`.
References stay as they are written. Nothing here imports torch.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from frame.common.durations import parse
from frame.common.errors import UserError, choices
from frame.composition import config_files
from frame.composition.folders import config_folders, file_of, options
from frame.composition.settings import SPLITS, no_data

KEY = "evaluations"
AUTO = "auto"  # the word for the evaluations of config/evaluations.yaml that the model and the data can serve
CALLBACK = "frame.callbacks.EvaluationCallback"
TITLES = {"train": "Train", "valid": "Validation", "test": "Test"}
SETTINGS = ("every", "on", "name", "evaluation")  # of an entry; its other keys are arguments of the evaluation
EXAMPLE = "{elbo: {every: 1 epoch, on: valid}}"


def to_callbacks(config: DictConfig, typed: Sequence[Override] = (), *, by_default: bool = False) -> DictConfig:
    """A composed config with callbacks instead of `evaluations`. `evaluations: auto` stays beside its callbacks.

    If the config has a mapping of callbacks, it is merged over the new ones. If it has a list, they are appended to it.

    Args:
        config: the composed config, which is not changed.
        typed: what was typed for `evaluations` and the keys below it.
        by_default: whether AUTO is used if neither the config nor the user names evaluations or callbacks.

    Raises:
        UserError: an evaluation, argument, split or duration is not valid, or two callbacks have one key.
    """
    raw: Any = OmegaConf.to_container(config, resolve=False)
    named, callbacks, auto = raw.get(KEY), raw.get("callbacks"), False
    if by_default and named is callbacks is None and not any(o.key_or_group == KEY or _adds(o) for o in typed):
        named = AUTO
    for override in typed:
        whole = override.key_or_group == KEY
        auto = not whole and (auto or named == AUTO)
        named = _with(candidates() if named == AUTO and not whole else named, override)
    if named == AUTO:
        named, auto = candidates(), True
    made = expand(named)
    if auto:
        made = _free(made, callbacks)
    changed = config.copy()
    with open_dict(changed):
        changed.pop(KEY, None)
        if auto:
            changed[KEY] = AUTO
        if made:
            changed["callbacks"] = _joined(made, callbacks)
    return changed


def candidates() -> dict[str, Any]:
    """What AUTO stands for: config/evaluations.yaml, the user's own if there is one, else ours."""
    files = [root / f"{KEY}.yaml" for root in config_folders()[::-1]]
    return config_files.values(next(file for file in files if file.is_file()))


def named_evaluation(name: str) -> tuple[str, dict[str, Any]]:
    """The content of config/evaluation/<name>.yaml: the name for logs, and `_target_` with arguments.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    file = file_of("evaluation", name) if name in options("evaluation") else None
    if file is None:
        raise UserError(choices(name, options("evaluation"), kind="evaluation"))
    found = config_files.values(file)
    if not isinstance(found.get("_target_"), str):
        raise UserError(f"{config_files.shown(file)} has no _target_, which names the evaluation's class")
    return str(found.pop("name", name)), found


def data_node(name: str) -> dict[str, Any]:
    """The content of config/data/<name>.yaml, for an evaluation that takes other data.

    Raises:
        UserError: there is no such file, or it names files itself.
    """
    file = file_of("data", name)
    if file is None:
        raise UserError(no_data(name))
    found = config_files.values(file)
    if "defaults" in found:
        raise UserError(f"{name} is made of other data, which an evaluation does not read: name one that is not")
    return found


def with_data(lower: Any, upper: Any) -> Any:
    """`upper` with the file of config/data/ in the place of a name, where `lower` has data.

    A name is also taken beside data, as in the `others` of `ood`.

    Raises:
        UserError: see `data_node`.
    """
    if isinstance(upper, str) and _is_data(lower):
        return data_node(upper)
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return upper
    beside = next((node for node in lower.values() if _is_data(node)), None)
    return {key: with_data(lower.get(key, beside), value) for key, value in upper.items()}


def _is_data(node: Any) -> bool:
    target = str(node.get("_target_")) if isinstance(node, dict) else ""
    return target.startswith("frame.data.") and not target.startswith("frame.data.augment.")


def expand(named: Any) -> dict[str, dict[str, Any]]:
    """The callbacks of a mapping of evaluations, by key, such as `elbo_valid`.

    Raises:
        UserError: as for `to_callbacks`.
    """
    if named is not None and not isinstance(named, dict):
        raise UserError(f"{KEY}={str(named)[:60]}: write {KEY}={EXAMPLE}, or {KEY}={AUTO} for those that fit")
    found: dict[str, dict[str, Any]] = {}
    owners: dict[str, str] = {}
    for key, entry in (named or {}).items():
        if entry is None:
            continue
        path = f"{KEY}.{key}"
        for callback, node in _callbacks(str(key), entry, path).items():
            for what in (f"callback '{callback}'", f"measurement '{node['name']}'"):
                if owners.setdefault(what, path) != path:
                    raise UserError(f"{owners[what]} and {path} both make the {what}: give one another key and name")
            found[callback] = node
    return found


def _callbacks(key: str, entry: Any, path: str) -> dict[str, dict[str, Any]]:
    """The callbacks of one entry."""
    if not isinstance(entry, dict):
        raise UserError(f"{path}={str(entry)[:60]}: write what to change below it, {KEY}={EXAMPLE}; null removes it")
    file = str(entry.get("evaluation") or key)
    try:
        title, evaluator = named_evaluation(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    name = str(entry.get("name") or title)
    if "evaluate_on" not in evaluator:
        if entry.get("on") is not None:
            raise UserError(f"{path}.on={entry['on']}: {file} is measured on no split: leave it out")
        return {key: _node(name, entry, evaluator, path, file)}
    return {
        f"{key}_{split}": _node(
            f"{name}/{TITLES[split]}", {**entry, **own}, {**evaluator, "evaluate_on": split}, path, file
        )
        for split, own in _splits(entry.get("on", "valid"), f"{path}.on").items()
    }


def _node(name: str, entry: dict[str, Any], evaluator: dict[str, Any], path: str, file: str) -> dict[str, Any]:
    """One callback, with the settings and arguments of an entry."""
    arguments = {word: value for word, value in entry.items() if word not in SETTINGS}
    free = set(evaluator) - {"_target_", "evaluate_on"}
    for word, value in arguments.items():
        if word == "evaluate_on":
            raise UserError(f"{path}.evaluate_on: write {path}.on={value}")
        if word not in free:
            raise UserError(f"{path}.{word}: {choices(str(word), {*free, *SETTINGS}, kind=f'argument of {file}')}")
    try:
        given = with_data(evaluator, arguments)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    every = _every(entry.get("every", "end"), f"{path}.every")
    return {"_target_": CALLBACK, "name": name, "evaluate_every": every, "evaluator": laid_over(evaluator, given)}


def _every(value: Any, path: str) -> str:
    if value != "end" and "${" not in str(value):
        try:
            parse(value, key=path)
        except UserError as error:
            raise UserError(f"{error}, or end for only at the end") from None
    return str(value)


def _splits(on: Any, path: str) -> dict[str, dict[str, Any]]:
    """The splits, each with its own settings."""
    splits = [*on] if isinstance(on, dict | list) else [on]
    for split in splits:
        if split not in SPLITS:
            raise UserError(f"{path}: {choices(str(split), SPLITS, kind='split')}")
    if not splits or len({*splits}) < len(splits):
        raise UserError(f"{path}={on}: name each split once: {', '.join(SPLITS)}")
    own = on if isinstance(on, dict) else dict.fromkeys(splits)
    for split, settings in own.items():
        if isinstance(settings, dict) and (wrong := {*settings} & {"on", "name", "evaluation"}):
            raise UserError(f"{path}.{split}.{wrong.pop()}: it holds for all splits: write it beside `on`")
    return {split: _own(settings) for split, settings in own.items()}


def _own(settings: Any) -> dict[str, Any]:
    """The settings of one split. A single word says how often it is measured."""
    return settings if isinstance(settings, dict) else {} if settings is None else {"every": settings}


def laid_over(lower: Any, upper: Any) -> Any:
    """`upper` over `lower`. Mappings are merged unless their `_target_` differs. Other values are replaced."""
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return upper
    if "_target_" in lower and upper.get("_target_", lower["_target_"]) != lower["_target_"]:
        return upper
    return {**lower, **{key: laid_over(lower.get(key), value) for key, value in upper.items()}}


def _free(made: dict[str, dict[str, Any]], callbacks: Any) -> dict[str, dict[str, Any]]:
    """The callbacks whose name no callback with another key has."""
    nodes = callbacks.items() if isinstance(callbacks, dict) else enumerate(callbacks or ())
    taken = {node.get("name"): key for key, node in nodes if isinstance(node, dict)}
    return {key: node for key, node in made.items() if taken.get(node["name"], key) == key}


def _joined(made: dict[str, dict[str, Any]], callbacks: Any) -> Any:
    if isinstance(callbacks, list):
        return [*callbacks, *made.values()]
    return laid_over(made, callbacks) if callbacks is not None else made


def _with(named: Any, override: Override) -> Any:
    """`named` with one typed value."""
    key, value = override.key_or_group, override.value()
    _, *path = key.split(".")
    top = {KEY: named}
    node: Any = top
    at = KEY
    for number, part in enumerate(path):
        inner = node[at]
        if inner is None and (number > 0 or _adds(override)):
            inner = node[at] = {}
        if number > 1 and isinstance(inner, str) and inner in options("data"):
            inner = node[at] = data_node(inner)
        here = ".".join([KEY, *path[:number]])
        if inner is not None and not isinstance(inner, dict):
            raise UserError(f"{key}: {here}={inner} has no keys below it")
        if part not in (inner or {}) and (override.is_delete() or number == 0 and not _adds(override)):
            there = choices(part, inner or (), kind=f"key of {here}")
            raise UserError(f"{there} (+{KEY}.{part}={{}} adds one)" if number == 0 else there)
        node, at = inner, part
        node.setdefault(at, {} if number < len(path) - 1 else None)
    if override.is_delete():
        del node[at]
    else:
        node[at] = laid_over(node[at], value)
    return top.get(KEY)


def _adds(override: Override) -> bool:
    return bool(override.is_add() or override.is_force_add())
