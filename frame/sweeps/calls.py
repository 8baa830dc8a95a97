"""What Python calls: `frame.sweep`, the study that `frame sweep` runs."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame.common.errors import UserError
from frame.common.interrupts import Interrupted
from frame.composition.folders import use_own_folder
from frame.composition.session import unchanged
from frame.composition.words import words_of
from frame.runs.listing import find, runs_table, summaries
from frame.sweeps.sweep import Options, opened

if TYPE_CHECKING:
    import pandas

OWN = tuple(field.name for field in fields(Options) if field.name not in ("seeds", "overrides", "config_dir"))


def sweep(
    file: str | Path,
    *words: str,
    seeds: int | Sequence[int] | None = None,
    config_dir: str | Path | None = None,
    **options: Any,
) -> "pandas.DataFrame":
    """Runs a sweep file, as `frame sweep` does, and returns a data frame with a row for each run of the study.

    Its columns are the run's folder, experiment, state, seed and parameters, and its newest results by their names.
    Each run is a process of its own, whose output is in the study's logs/. The same call again runs what is missing.

    Args:
        file: the sweep file, or a study's folder.
        words: key=value for all runs.
        seeds: how many for each point (1, 2, ...), or which; None: the one of the config.
        config_dir: your own folder of config files; by default ./config, if there is one.
        options: 'jobs', 'run_cap', 'folder', 'launcher', 'launcher_options', 'retry' and 'again', as for the command;
            any other keyword is a setting of the runs.

    Raises:
        UserError: the file, an option or the config of a run is wrong.
        KeyboardInterrupt: Ctrl-C. The runs are saved, and the same call continues them.

    Example:
        >>> frame.sweep("sweeps/VAE_MNIST.yml", seeds=3, train_for="2 epochs")
    """
    if isinstance(seeds, bool) or isinstance(seeds, int) and seeds < 1:
        raise UserError(f"seeds={seeds}: write how many, such as seeds=5, or which, such as seeds=[1, 2, 3]")
    several = tuple(range(1, seeds + 1)) if isinstance(seeds, int) else tuple(seeds or ())
    own = {key: options.pop(key) for key in OWN if key in options}
    jobs = own.get("jobs", 1)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise UserError(f"jobs={jobs}: write a whole number, at least 1")
    if own.get("folder") is not None:
        own["folder"] = Path(own["folder"])
    place = None if config_dir is None else Path(config_dir)
    with unchanged():
        use_own_folder(place)
        chosen = Options(seeds=several, overrides=tuple(words_of(words, options)), config_dir=place, **own)
        with opened(Path(file), chosen) as study:
            code = study.run()
            folder = study.study.folder
        if code > 128:
            raise Interrupted(code - 128)
        return runs_table(summaries(find([folder])))
