"""Composes one config from what the user typed. Nothing here imports torch, so errors are reported at once."""

import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from frame.common.errors import UserError, choices
from frame.composition import evaluations
from frame.composition.chosen import NETWORKS, is_part, nodes_inside, words_for_hydra
from frame.composition.config_files import StrictFiles, check_name, state
from frame.composition.evaluations import named_evaluation
from frame.composition.folders import OwnFolder, config_folder, config_folders, groups, options
from frame.composition.layers import HYDRA, SEARCHPATH, Layers
from frame.composition.settings import PARTS, check_value, keys, no_data, unread

MADE = (evaluations.KEY, "callbacks")  # Hydra does not compose these: evaluations become callbacks afterwards
WRAPPED = re.compile(r"data(\.(data|unlabelled))+")  # a data set that another one wraps, such as views


class OwnFolderFirst(SearchPathPlugin):
    """Puts the user's own folder first on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if OwnFolder.folder is not None:
            search_path.prepend(provider="own", path=f"file://{OwnFolder.folder}")


def ready() -> None:
    """Makes Hydra read files strictly and search the user's own folder first."""
    Plugins.instance().register(OwnFolderFirst)
    SourcesRegistry.instance().types["file"] = StrictFiles


def normalise(overrides: Sequence[str]) -> list[str]:
    """Adds the plus to `experiment=`, `trainer.x=` and `debug=`, if the user left it out.

    `data.data=MNIST` becomes Hydra's `data@data.data=MNIST`. `debug` moves to the end, because the last word
    wins over the experiment.
    """
    ordinary, debug = [], []
    for text in overrides:
        key = text.lstrip("+").split("=")[0]
        if key == "debug":
            debug.append("+" + text.lstrip("+"))
        elif key == "experiment":
            ordinary.append("+" + text.lstrip("+"))
        elif WRAPPED.fullmatch(key) and text.partition("=")[2] in options("data"):
            ordinary.append(f"data@{text}")
        elif key.startswith("trainer."):
            ordinary.append("++" + text.lstrip("+"))
        else:
            ordinary.append(text)
    return ordinary + debug


def hydra_words(overrides: Sequence[str]) -> list[str]:
    """The words with which Hydra composes what was typed: files in the order of their layers, then values."""
    parsed = _parse(normalise(overrides))
    files = words_for_hydra([o for o in parsed if _chooses_files(o)])
    return [*files, *(o.input_line or "" for o in parsed if not _chooses_files(o))]


def compose(overrides: Sequence[str] = (), given: Mapping[str, Mapping[str, Any]] | None = None) -> DictConfig:
    """Composes one config from the defaults, the experiment and the overrides, as on the command line.

    Args:
        overrides: what was typed.
        given: nodes that stand for parts which are objects of Python already, see `frame.engine.objects`. They take the
            place of what the experiment names.

    Raises:
        UserError: an option, group or key is unknown, or a value has another type than the experiment's.
    """
    given = given or {}
    parsed = _parse(normalise(overrides))
    for part in given:
        if any(root(o.key_or_group) == part for o in parsed):
            raise UserError(f"{part} is given as an object and as words, {part}...=...: leave one of them out")
    values = [o for o in parsed if not _chooses_files(o)]
    for override in parsed:
        if override.is_sweep_override():
            key = override.key_or_group
            raise UserError(f"{key}: a run has one value of it: write a file for `frame sweep` to try several")
    for override in values:
        group = override.key_or_group
        if group in groups() and not _is_value(override):
            raise UserError(
                f"{group}={str(override.value())[:60]}: name a file of config/{group}/: {', '.join(options(group))}"
            )
    # Without the typed values, the config shows which keys exist and which types they have.
    where = [o.input_line or "" for o in values if o.key_or_group == SEARCHPATH]
    files = words_for_hydra([o for o in parsed if _chooses_files(o)]) + where
    chosen = _compose(files)
    with open_dict(chosen):
        for part, node in given.items():
            chosen[part] = dict(node)
    named = [o for o in values if root(o.key_or_group) == evaluations.KEY]
    values = [o for o in values if o not in named]
    by_default = not any(_names_callbacks(o) for o in parsed) and bool(chosen.get("model") and chosen.get("data"))
    before = evaluations.to_callbacks(chosen, named, by_default=by_default)
    inside = nodes_inside([o for o in parsed if _chooses_files(o)])
    for override in values:
        check_value(override, before, inside)
        if override.key_or_group.startswith("params.") and override.is_add():
            override.type = OverrideType.FORCE_ADD  # the experiment or the model's file may have it
    config = _with_values(before, [o for o in values if not _is_hydras(o.key_or_group)])
    exchanged = any(o.key_or_group == "experiment" for o in parsed) and any(
        is_part(o) for o in parsed if _chooses_files(o)
    )
    if exchanged or values or named or given:
        _drop(config, parsed, _compose(files) if given else chosen)
    with open_dict(config):
        if config.get("experiment_name") is None:
            config.experiment_name = _name(parsed, given)
    return config


def _name(parsed: Sequence[Override], given: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of a run that has none: the experiment's, else its data and its model."""
    experiments = [str(o.value()) for o in parsed if o.key_or_group == "experiment"]
    parts = {o.key_or_group: str(o.value()) for o in parsed if _chooses_files(o) and not o.package}
    parts |= {part: str(node["_target_"]).rpartition(".")[2] for part, node in given.items()}
    named_after = [parts[part] for part in ("data", "model") if part in parts]
    return (experiments or ["_".join(named_after) or "run"])[-1]


def _names_callbacks(override: Override) -> bool:
    """Whether it chooses an experiment, or sets callbacks other than an evaluation's."""
    key, adds = override.key_or_group, override.is_add() or override.is_force_add()
    return key in ("experiment", "callbacks") or adds and root(key) == "callbacks"


def root(word: str) -> str:
    """'callbacks' of `+callbacks.a.b=c`."""
    return word.lstrip("+~").split("=")[0].split(".")[0]


def _is_hydras(word: str) -> bool:
    """Whether it sets one of Hydra's own settings. Only the search path is read."""
    return root(word) == HYDRA


def _drop(config: DictConfig, parsed: Sequence[Override], before: DictConfig) -> None:
    """Removes keys that only replaced parts read, such as parameters of the former model."""
    groups_typed = [o for o in parsed if _chooses_files(o)]
    if any(o.key_or_group == "experiment" for o in groups_typed):
        kept = [o for o in groups_typed if not is_part(o)]
        before = before if len(kept) == len(groups_typed) else _compose(words_for_hydra(kept))
    former = set(unread(_plain(before)))
    typed = [o.key_or_group for o in parsed if not _chooses_files(o)]
    left = former | {k for k in unread(_plain(config)) if any(k == t or t.startswith(f"{k}.") for t in typed)}
    with open_dict(config):
        while gone := set(unread(_plain(config))) - left:  # removing a network may leave its parameters unread
            for key in gone:
                above, _, name = key.rpartition(".")
                del (OmegaConf.select(config, above) if above else config)[name]


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return plain


def changed_by(config: DictConfig, overrides: Sequence[str], changeable: Sequence[str]) -> DictConfig:
    """A stored config with the overrides after `resume=`. They are parsed and checked as for a new run.

    Args:
        config: the stored config, which is not changed.
        overrides: what the user typed.
        changeable: the keys that may change; 'device.' stands for all keys that begin with it. Arguments of the trainer
            among them need not be in the config.

    Raises:
        UserError: a key does not exist or may not change, or a value has another type.
    """
    parsed = _parse(normalise(overrides))
    there = keys(OmegaConf.to_container(config, resolve=False))
    may = [
        key for key in there if any(key == name or name.endswith(".") and key.startswith(name) for name in changeable)
    ]
    new = [key for key in changeable if key.startswith("trainer.") and key not in there]
    for override in parsed:
        key = override.key_or_group
        if key in new and not override.is_delete():
            override.type = OverrideType.FORCE_ADD
            continue
        if key not in may:
            if key in there or key in groups():
                names = ", ".join(name + "*" if name.endswith(".") else name for name in changeable)
                raise UserError(f"{key}: a resumed run keeps its config; only {names} may change")
            raise UserError(choices(key, [*may, *new], kind="key"))
        if override.is_delete():
            raise UserError(f"~{key}: a resumed run keeps its keys: write {key}=null or another value")
        check_value(override, config)
    changed = config.copy()
    typed = {override.key_or_group for override in parsed}
    limits = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
    if typed & {"train_for", *limits}:  # the new limit replaces the former one, whatever its kind
        for limit in limits:
            OmegaConf.update(changed, limit, None, force_add=True)
    try:
        ConfigLoaderImpl._apply_overrides_to_config(parsed, changed)
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise UserError(_composition(error)) from None
    return changed


def _parse(overrides: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UserError(f"cannot read '{error.override}': write key=value, and quote a value that has spaces") from None
    except HydraException as error:
        raise UserError(_first_line(error)) from None


def _chooses_files(override: Override) -> bool:
    key = override.key_or_group
    if override.is_delete():
        return key in groups()
    return (
        key == "experiment"
        or "@" in str(override.input_line)
        or key.startswith(f"{NETWORKS}/")
        or key == NETWORKS
        and isinstance(override.value(), str)
        or any((root / key).is_dir() for root in config_folders())
        and (not isinstance(override.value(), dict) and override.value() is not None)
    )


def _is_value(override: Override) -> bool:
    """Whether a word sets values of a group, which replace or join those of its file."""
    return isinstance(override.value(), dict) and (override.is_add() or override.is_force_add())


def _compose(overrides: list[str]) -> DictConfig:
    """What Hydra composes from the words. It is cached, because the runs of a study read the same files."""
    if any(_is_hydras(word) for word in overrides):  # the search path may name any folder
        return _read(tuple(overrides))
    return deepcopy(_remembered(tuple(overrides), _state()))


@lru_cache(maxsize=32)
def _remembered(overrides: tuple[str, ...], now: object) -> DictConfig:
    return _read(overrides)


def _state() -> object:
    """What a composition depends on besides the words: config files and the environment."""
    files = [file for folder in config_folders() for file in sorted(folder.rglob("*.yaml")) if file.exists()]
    return tuple((file, *state(file)) for file in files), frozenset(os.environ.items())


def _read(overrides: Sequence[str]) -> DictConfig:
    ready()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            hydra: Any = GlobalHydra.instance().hydra
            composed = Layers(hydra.config_loader.get_search_path()).composed("config", list(overrides))
    except MissingConfigException as error:
        raise UserError(_missing(error)) from None
    except (ConfigCompositionException, HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(_composition(error)) from None
    except RecursionError:
        raise UserError("the defaults of a config file name one another in a circle") from None
    if isinstance(composed.get("device"), DictConfig):
        with open_dict(composed.device):  # a device file of earlier times lacks it
            composed.device.setdefault("memory_for_data", "auto")
    return composed


def _with_values(before: DictConfig, values: Sequence[Override]) -> DictConfig:
    """`before` with the typed values, as Hydra applies them; a typed mapping replaces a node of another `_target_`."""
    config = deepcopy(before)
    try:
        for override in values:
            value, key = override.value(), override.key_or_group
            if isinstance(value, dict) and "_target_" in value:
                there = OmegaConf.select(config, key)
                if isinstance(there, DictConfig) and there.get("_target_") != value["_target_"]:
                    OmegaConf.update(config, key, {}, merge=False, force_add=True)
                override.type = OverrideType.FORCE_ADD  # its keys are arguments, which are checked
        ConfigLoaderImpl._apply_overrides_to_config(list(values), config)
    except (ConfigCompositionException, OmegaConfBaseException, ValueError) as error:
        raise UserError(_composition(error)) from None
    return config


def _missing(error: MissingConfigException) -> str:
    wanted = error.missing_cfg_file
    name = wanted[0] if isinstance(wanted, (list, tuple)) and wanted else str(wanted)
    group, _, option = str(name).lstrip("/").rpartition("/")
    if not group:
        return choices(option, groups(), kind="group of options")
    check_name(config_folders(), group, option)
    return no_data(option) if group == "data" else choices(option, options(group), kind=group)


def chosen_evaluation(name: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Reads config/evaluation/<name>.yaml, and sets the arguments that were typed as `<name>.<argument>=value`.

    Other data may be named: `transfer.other=MNIST`, and changed below: `transfer.other.binarize=static`.

    Raises:
        UserError: there is no such file or argument.
    """
    _, found = named_evaluation(name)
    for key, text in arguments.items():
        owner, *path = key.split(".")
        if owner == name:
            _set(found, path, _parse([f"value={text}"])[0].value(), name)
    return found


def _set(found: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    """Sets an argument of an evaluation, or of a node in it."""
    node: Any = found
    for number, key in enumerate(path):
        last = number == len(path) - 1
        # a name may be new below `others`, where values are nodes
        new = last and number > 0 and "_target_" not in node
        if key not in node and not new:
            raise UserError(
                choices(key, set(node) - {"_target_"}, kind=f"argument of {'.'.join([name, *path[:number]])}")
            )
        if last:
            data = evaluations.with_data(node, {key: value})[key]
            node[key] = value if data is value else _on_this_machine(data)
        elif not isinstance(node := node[key], dict):
            raise UserError(f"{'.'.join([name, *path])}: {'.'.join(path[: number + 1])}={node} has no keys below it")


def _on_this_machine(data: dict[str, Any]) -> Any:
    """The node of a file of config/data/, with this machine's folders of data."""
    whole = OmegaConf.create({"device": _compose([]).device, "data": data})
    return OmegaConf.to_container(whole.data, resolve=True)


def _composition(error: Exception) -> str:
    text = " ".join(str(error).split())
    could_not = re.search(r"Could not override '([^']+)'", text)
    inside = re.match(r"In '([^']+)': ", text)
    if could_not and inside:
        group = could_not[1].split("@")[0]
        if root(group.replace("/", ".")) == HYDRA:
            return f"config/{inside[1]}.yaml: {group}: Hydra only composes here: take it out of `defaults`"
        return f"config/{inside[1]}.yaml: there is no {group} to override: write `- /{group}: NAME` without override"
    if could_not:
        key = could_not.group(1)
        if key in PARTS:
            return f"'{key}={key}' needs an experiment, or all three of {', '.join(f'{part}=' for part in PARTS)}"
        return f"no group of options '{key}'. There are: {', '.join(groups())}"
    other = re.match(r"Could not delete from config. The value of '([^']+)' is .* and not (.*)\.$", text)
    other = other or re.match(r"Could not delete '([^'=]+)=([^']*)'", text)
    if other:
        return f"~{other[1]}={other[2]}: {other[1]} is something else here: write ~{other[1]} to remove it"
    missing = re.search(r"Interpolation key '([^']+)' not found.*full_key: (\S+)", text)
    if missing:
        return f"{missing.group(2)} refers to '{missing.group(1)}', which is not set: add {missing.group(1)}=..."
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
