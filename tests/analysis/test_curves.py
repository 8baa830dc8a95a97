"""Curves over runs show the measured numbers, and protocols are not mixed."""

from typing import Any

import matplotlib.colors
import pandas
import pytest

from frame.analysis.curves import information_plane, measured_alike, rate_distortion
from frame.common.errors import UserError

ALIKE = {"split": "test", "n_samples": 300, "unit": "nats per series", "standard_error": 0.1, "iteration": 50}


def records(values: dict[str, list[float]], **more: Any) -> pandas.DataFrame:
    """A row for each name and run; runs are named a, b, c ... and have betas 1, 2, 3 ..."""
    rows = [
        {
            **ALIKE,
            "name": name,
            "value": value,
            "run": "abcdef"[i],
            "params.beta": i + 1,
            "estimator": "x",
            "bound": "lower",
            "saturated": False,
            **more,
        }
        for name, column in values.items()
        for i, value in enumerate(column)
    ]
    return pandas.DataFrame(rows)


ELBO = {"elbo/Test": [-80.0, -85, -90], "elbo/Test/rate": [25.0, 15, 5], "elbo/Test/distortion": [55.0, 70, 85]}
PLANE = {
    "code_information/Test/mixture": [2.0, 5.5],
    "code_information/Test/rate": [3.0, 9],
    "label_information/Test/classifier": [1.0, 2],
    "label_information/Test/entropy": [2.3, 2.3],
}


def points(figure: Any) -> list[tuple[float, float]]:
    return [tuple(p) for collection in figure.axes[0].collections for p in collection.get_offsets() if len(p)]


@pytest.mark.parametrize("hue", [None, "params.beta"])
def test_one_point_per_run(hue: str | None) -> None:
    figure: Any = rate_distortion(records(ELBO), hue)
    assert {(5, 85), (15, 70), (25, 55)} <= set(points(figure))
    axes = figure.axes[0]
    assert axes.get_xlabel() == "rate, nats per series" and axes.get_ylabel() == "distortion, nats per series"
    assert any("ELBO -" in text.get_text() for text in axes.texts)
    for line in axes.lines:
        (x0, x1), (y0, y1) = line.get_data() if len(line.get_xdata()) == 2 else ((0, 1), (1, 0))
        assert x0 + y0 == pytest.approx(x1 + y1)  # equal ELBO
    assert (len(figure.legends) == 1) == (hue is not None)


def test_the_plane_shows_bounds_limits_and_saturation() -> None:
    results = records(PLANE)
    results.loc[results["name"].str.endswith("mixture") & (results["run"] == "b"), "saturated"] = True
    figure: Any = information_plane(results)
    axes = figure.axes[0]
    assert {(2, 1), (5.5, 2)} <= set(points(figure))
    assert "lower bound: mixture" in axes.get_xlabel() and "lower bound: classifier" in axes.get_ylabel()
    assert "hollow" in axes.get_title() and "H(y)" in [text.get_text() for text in axes.texts]
    faces = [matplotlib.colors.to_hex(c) for c in axes.collections[-1].get_facecolors()]
    assert faces[0] != "#ffffff" and faces[1] == "#ffffff"
    assert {(3, 1), (9, 2)} <= set(points(information_plane(records(PLANE), x="rate")))


@pytest.mark.parametrize(
    "column, value, said",
    [("split", "valid", "split: test | valid"), ("estimator", "upper", "upper"), ("n_samples", 10, "10 | 300")],
)
def test_numbers_measured_in_several_ways_are_not_mixed(column: str, value: Any, said: str) -> None:
    results = records(ELBO)
    results.loc[results["run"] == "b", column] = value
    with pytest.raises(UserError, match=column) as refused:
        rate_distortion(results)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_the_newest_record_of_a_run_counts() -> None:
    results = pandas.concat([records(ELBO, iteration=99), records({k: [0.0] * 3 for k in ELBO})])
    assert measured_alike(results, "elbo/Test/rate")["value"].tolist() == [25, 15, 5]


def test_errors() -> None:
    with pytest.raises(UserError, match=r"evaluation=\[elbo\]"):
        rate_distortion(records({"elbo/Test": [1.0]}))
    with pytest.raises(UserError, match="elbo/Test, elbo/Valid cannot be mixed"):
        rate_distortion(
            pandas.concat([records(ELBO), records({k.replace("Test", "Valid"): v for k, v in ELBO.items()})])
        )
    with pytest.raises(UserError, match=r"evaluation=\[code_information\]"):
        information_plane(records(ELBO))
    with pytest.raises(UserError, match="no column 'beta'"):
        rate_distortion(records(ELBO), hue="beta")
