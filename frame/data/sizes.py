"""What networks ask of data, as plain values: a run's config has them as `sizes`."""

from collections.abc import Mapping
from typing import Any

import torch

from frame.data.base import DataSet, Source, levels_of, streams


def sizes_of(data: DataSet) -> Mapping[str, Any]:
    """The sizes of a data set. A size is None if the data have none.

    'x': the shape of one row, such as [1, 28, 28]. 'n_classes': values of 'y'. 'y': the shape of a
    row's 'y': [] for a class or a number, [3] for three labels or numbers. 'n_train': rows that are trained on.
    'n_unlabelled': rows of 'unlabelled', which n_train does not count. 'levels': values that each number of 'x' can
    have, such as 2 or 256. 'vocabulary': how many tokens there are. 'n_envs':
    environments that are trained on.

    Raises:
        UserError: the data cannot be read.
    """
    train = data.training()
    unlabelled = streams(train).get("unlabelled")
    return {
        "x": [int(size) for size in data.shape] if "x" in data.keys else None,
        "n_classes": data.n_classes if "y" in data.keys else None,
        "y": _shape_of_y(train) if "y" in data.keys else None,
        "n_train": len(train),
        "n_unlabelled": None if unlabelled is None else unlabelled.rows,
        "levels": levels_of(train),
        "vocabulary": data.vocabulary,
        "n_envs": data.n_envs if "env" in data.keys else None,
    }


def _shape_of_y(train: Source) -> list[int] | None:
    y = train.batch(torch.arange(1)).get("y") if len(train) else None
    return None if y is None else [int(side) for side in y.shape[1:]]
