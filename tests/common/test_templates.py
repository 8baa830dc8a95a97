"""Templates escape the values that are filled in, unless they are marked as safe."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from frame.common.templates import rendered, safe


def test_html_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text('{% macro b(x) %}<b>{{ x }}</b>{% endmacro %}<p title="{{ x }}">{{ b(x) }}{{ y }}</p>\n')
    made = rendered(file, x="<i>\"'&", y=safe("<hr>"))
    assert made == '<p title="&lt;i&gt;&#34;&#39;&amp;"><b>&lt;i&gt;&#34;&#39;&amp;</b><hr></p>\n'


def test_markdown_is_escaped_once_and_not_for_html(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "{% macro row(x) %}| {{ x }} |{% endmacro %}{{ row(x) }} {{ name | code }} {{ y }}\n"
        "\n{{ [1, x] | join(', ') }}\n"
    )
    made = rendered(file, x="a|b <i> \"'&\n# c [d](e)", name="params.beta", y=safe("| z |"))
    text = "a\\|b &lt;i> \"'& # c [d]\\(e)"
    assert made == f"| {text} | `params.beta` | z |\n\n1, {text}\n"


def test_a_missing_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("{{ nothing }}")
    with pytest.raises(UndefinedError):
        rendered(tmp_path / "page.md")
