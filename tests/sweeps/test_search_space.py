"""The distributions of sweep files: against scipy's, at their ends, and errors."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from frame.common.errors import UserError
from frame.sweeps.search_space import QUANTIZED, SHAPES, distribution

U = np.linspace(0.001, 0.999, 999)


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ({"distribution": "uniform", "min": -1, "max": 3}, stats.uniform(-1, 4)),
        ({"min": 0.5, "max": 1.5}, stats.uniform(0.5, 1)),
        # exponents of e, as in the first document's sweep
        ({"distribution": "log_uniform", "min": -20, "max": 2}, stats.loguniform(math.exp(-20), math.exp(2))),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 10}, stats.loguniform(1e-4, 10)),
        ({"distribution": "normal"}, stats.norm()),
        ({"distribution": "normal", "mu": 2, "sigma": 0.5}, stats.norm(2, 0.5)),
        ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, stats.lognorm(0.5, scale=math.e)),
        ({"distribution": "beta", "a": 2, "b": 5}, stats.beta(2, 5)),
    ],
)
def test_they_are_scipys(spec: dict[str, Any], reference: Any) -> None:
    at = distribution("x", spec).at
    np.testing.assert_allclose([at(u) for u in U], reference.ppf(U), rtol=1e-9)


def test_the_inverse_of_an_inverse_log_uniform_is_log_uniform() -> None:
    inverse = distribution("x", {"distribution": "inv_log_uniform", "min": 1, "max": 3})
    drawn = [math.log(1 / inverse.at(u)) for u in U]
    np.testing.assert_allclose(sorted(drawn), stats.uniform(1, 2).ppf(U), rtol=1e-9)
    values = distribution("x", {"distribution": "inv_log_uniform_values", "min": 0.1, "max": 10})
    assert min(values.at(u) for u in (0.0, 1 - 1e-12)) == pytest.approx(0.1)
    assert max(values.at(u) for u in (0.0, 1 - 1e-12)) == pytest.approx(10)


@pytest.mark.parametrize("shape", QUANTIZED)
def test_quantized_ones_are_the_nearest_multiples(shape: str) -> None:
    known: dict[str, dict[str, Any]] = {
        "normal": {"mu": 3, "sigma": 2},
        "log_normal": {},
        "beta": {"a": 2, "b": 2},
        "log_uniform": {"min": -2, "max": 2},
        "log_uniform_values": {"min": 0.2, "max": 9},
    }
    arguments = known.get(shape, {"min": -2, "max": 4})
    plain = distribution("x", {"distribution": shape, **arguments})
    rounded = distribution("x", {"distribution": f"q_{shape}", "q": 0.1, **arguments})
    for u in U:
        assert abs(rounded.at(u) - plain.at(u)) <= 0.05 + 1e-9
        assert round(rounded.at(u) * 10) / 10 == rounded.at(u)  # 0.3, not 0.30000000000000004


def test_whole_numbers_and_choices_are_equally_likely() -> None:
    whole = distribution("x", {"min": 3, "max": 5})
    assert whole.values == (3, 4, 5)
    assert [sum(whole.at(u) == n for u in U) for n in (3, 4, 5)] == [333, 333, 333]
    assert type(whole.at(0.5)) is int
    of_lists = distribution("x", {"values": [[32], None, "a"]})
    assert [of_lists.at(u) for u in (0.0, 0.5, 0.99)] == [[32], None, "a"]
    weighed = distribution("x", {"distribution": "categorical", "values": ["a", "b"], "probabilities": [0.9, 0.1]})
    assert sum(weighed.at(u) == "a" for u in U) == pytest.approx(900, abs=1)
    assert distribution("x", {"value": 7}).at(0.3) == 7


def test_yamls_exponents_without_a_point_are_numbers() -> None:
    assert distribution("x", {"distribution": "uniform", "min": "1e-5", "max": 1}).at(0) == 1e-5


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"distribution": "log_unifrm", "min": 0, "max": 1},
            "did you mean 'log_uniform'",
        ),
        ({"distribution": "uniform", "min": 0}, "lr: uniform needs max"),
        ({"distribution": "uniform", "min": 0, "max": 1, "q": 1}, "lr: no argument of uniform 'q'"),
        ({"distribution": "uniform", "min": 1, "max": 1.0}, "min 1 must be below max 1"),
        ({"distribution": "log_uniform_values", "min": -20, "max": 2}, "log_uniform takes exponents of e"),
        ({"distribution": "log_uniform", "min": 32, "max": 1024}, "write log_uniform_values"),
        ({"distribution": "normal", "sigma": 0}, "sigma of normal must be above 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q=0.0 must be above 0"),
        ({"values": []}, "values must be a list with something in it"),
        ({"values": [1, 2], "probabilities": [0.5]}, "a number for each of its 2 values"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "sum to 1"),
        ({"min": 1}, "give it value, values, min and max, or a distribution"),
        ({"distribution": "uniform", "min": "a", "max": 1}, "min='a' is not a number"),
        ({"distribution": "int_uniform", "min": 5, "max": 1}, "min 5 must be at most max 1"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match="(?s)^lr: ") as caught:
        distribution("lr", spec)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_each_name_of_wandbs_documentation_is_known() -> None:
    wandbs = """constant categorical int_uniform uniform q_uniform log_uniform log_uniform_values q_log_uniform
    q_log_uniform_values inv_log_uniform inv_log_uniform_values normal q_normal log_normal q_log_normal beta q_beta"""
    arguments = {"min": 1, "max": 2, "a": 1, "b": 1, "value": 1, "values": [1]}
    for name in wandbs.split():
        shape = name.removeprefix("q_")
        wanted = SHAPES[shape][0] if shape in SHAPES else {}
        taken: list[str] = [key for key in ("min", "max", "a", "b") if key in wanted]
        taken += {"constant": ["value"], "categorical": ["values"], "int_uniform": ["min", "max"]}.get(name, [])
        distribution("x", {"distribution": name, **{key: arguments[key] for key in taken}}).at(0.5)
