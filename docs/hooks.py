"""Pages that `make site` makes: one for each method, from its file, its experiments and results, and the API's."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = {  # in the order of the map
    "frame": "what `import frame` offers",
    "models": "objectives",
    "architectures": "networks, and heads that turn their output into distributions",
    "data": "sources, data sets, augmentation, loaders",
    "probability": "distributions, divergences, bounds, estimators of mutual information",
    "optimization": "how parameters are stepped",
    "evaluation": "what of a model and its data goes into which measure",
    "measures": "numbers from arrays",
    "callbacks": "when something happens in training",
    "loggers": "where numbers and pictures go",
    "runs": "a run's folder",
    "engine": "one run",
    "analysis": "what many runs say",
    "sweeps": "many runs",
    "sharing": "exports, codes and maps",
}


def on_config(config: Any) -> Any:
    """Adds to the navigation the pages that are made here, and those in docs/ that it does not name."""
    docs = Path(config["docs_dir"])
    named = set(_named(config["nav"]))
    for entry in config["nav"]:
        for section, folder in (("Tutorials", "tutorials/"), ("How to", "")):
            if section in entry:
                found = sorted(path.relative_to(docs).as_posix() for path in docs.glob(f"{folder}*.md"))
                entry[section] += [page for page in found if page not in named]
                entry[section] += [page for page in notebooks(docs) if page.rpartition("/")[0] == folder.rstrip("/")]
        if "Methods" in entry:
            entry["Methods"] += [{name: f"methods/{name}.md"} for name in methods()]
        if "Reference" in entry:
            entry["Reference"].append({"API": [{name: f"api/{name}.md"} for name in PACKAGES]})
    return config


def _named(nav: Any) -> Iterator[str]:
    """The pages in a navigation."""
    if isinstance(nav, str):
        yield nav
    for inner in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(inner)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages."""
    pages = {f"methods/{name}.md": method_page(name) for name in methods()}
    pages |= {f"api/{name}.md": api_page(name, what) for name, what in PACKAGES.items()}
    pages |= {page: notebook_page(file) for page, file in notebooks(Path(config["docs_dir"])).items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def notebooks(docs: Path) -> dict[str, Path]:
    """The notebooks below docs/, by the names of their pages."""
    found = sorted(file for file in docs.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts)
    return {file.relative_to(docs).with_suffix(".md").as_posix(): file for file in found}


def notebook_page(file: Path) -> str:
    """A notebook with the outputs that are stored in it: texts, tables and pictures."""
    parts = [f"[The notebook]({file.name}), with the outputs of its last run."]
    for cell in json.loads(file.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts += [f"```python\n{source}\n```", *map(_output, cell["outputs"])]
    if len(parts) > 1 and parts[1].startswith("# "):  # the title comes first
        title, _, rest = parts[1].partition("\n")
        parts[:2] = [title, parts[0], rest]
    return "\n\n".join(filter(None, parts)) + "\n"


def _output(output: dict[str, Any]) -> str:
    """What a cell printed or showed: a picture, else HTML, else text."""
    data = output.get("data", {})
    for kind in ("image/png", "image/svg+xml", "text/html"):
        if kind in data:
            shown = "".join(data[kind])
            return (
                f"![output](data:{kind};base64,{shown.strip()})" if kind == "image/png" else f"<div>\n{shown}\n</div>"
            )
    text = "".join(data.get("text/plain", output.get("text", output.get("traceback", ""))))
    plain = re.sub("\x1b\\[[0-9;]*m", "", text).rstrip()  # without colours
    return f"```text\n{plain}\n```" if plain else ""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ become names of files, which the repository has; methods link to their pages."""
    outside = re.compile(r"\[([^\]]*)\]\((?:\.\./)+[\w./-]+\)")
    markdown = outside.sub(lambda found: found[1] if "`" in found[1] else f"`{found[1]}`", markdown)
    if page.file.src_uri == "methods.md":
        for name in methods():
            markdown = re.sub(rf"^(\|.*?)`{name}`", rf"\1[`{name}`](methods/{name}.md)", markdown, count=1, flags=re.M)
    return markdown


def methods() -> list[str]:
    """The files in frame/models/ that have a file in config/model/."""
    return sorted(
        (file.stem for file in (ROOT / "config" / "model").glob("*.yaml") if _source(file.stem).exists()), key=str.lower
    )


def _source(name: str) -> Path:
    return ROOT / "frame" / "models" / f"{name}.py"


def experiments(name: str) -> dict[str, str]:
    """The experiments whose model this is, each with the comments at its head."""
    found = {}
    for file in sorted((ROOT / "config" / "experiment").glob("*.yaml")):
        text = file.read_text()
        if re.search(rf"^\s*- (?:override )?/model: {name}\s*$", text, re.M):
            head = [line.removeprefix("#").strip() for line in _head(text) if "@package" not in line]
            found[file.stem] = "\n".join(head)
    return found


def _head(text: str) -> list[str]:
    lines = text.splitlines()
    return lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]


def results(names: list[str]) -> str:
    """The rows of the tables in results.md that name one of the experiments, each below its table's head."""
    found: list[str] = []
    lines = (ROOT / "docs" / "results.md").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(r"\|[-| :]+\|", line):
            body = lines[number + 1 :]
            rows = body[: next((i for i, row in enumerate(body) if not row.startswith("|")), len(body))]
            kept = [row for row in rows if any(re.search(rf"`{name}\b", row.split("|")[1]) for name in names)]
            found += [lines[number - 1], line, *kept, ""] if kept else []
    return "\n".join(found)


def method_page(name: str) -> str:
    """A method's page: its docstrings, its experiments, what came out, and its config."""
    parts = [f"# {name}", f"```bash\nframe train model={name} data=... # any data, with networks that fit\n```"]
    parts.append(
        f"::: frame.models.{name}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false"
    )
    found = experiments(name)
    if found:
        parts.append("## Experiments")
        parts += [f"### {experiment}\n\n{_listed(head)}" for experiment, head in found.items()]
    if measured := results([*found]):
        parts.append(f"## Results\n\nFrom [all results](../results.md):\n\n{measured}")
    config = (ROOT / "config" / "model" / f"{name}.yaml").read_text()
    parts.append(f'## Config\n\n```yaml title="config/model/{name}.yaml"\n{config}```')
    return "\n\n".join(parts) + "\n"


def _listed(head: str) -> str:
    """Comments of an experiment, whose parts such as 'Paper: ...' become items; signs of Markdown stay as they are."""
    text = []
    for line in head.splitlines():
        key, colon, rest = line.partition(": ")
        shown = f"`{rest}`" if key == "Command" else re.sub(r"([<*_\[\]`])", r"\\\1", rest if colon else key)
        is_key = bool(colon) and re.fullmatch(r"[A-Z][a-z]+( [a-z]+)?", key) is not None
        text.append(f"\n- **{key}**: {shown}" if is_key else re.sub(r"([<*_\[\]`])", r"\\\1", line))
    return "\n".join(text)


def api_page(name: str, what: str) -> str:
    """A package's page: its modules with their public classes and functions."""
    if name == "frame":
        shown = sorted(re.findall(r"from ([\w.]+) import (\w+) as \2", (ROOT / "frame" / "__init__.py").read_text()))
        members = "\n\n".join(
            f"::: {module}.{member}\n    options:\n      show_root_full_path: false" for module, member in shown
        )
        return f"# frame: {what}\n\n{members}\n"
    files = sorted((ROOT / "frame" / name).rglob("*.py"), key=lambda file: file.as_posix().lower())
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.stem != "__init__"]
    if name == "models":  # each has a page of its own
        modules = [m for m in modules if m.rpartition(".")[2] not in methods()]
    return f"# frame.{name}: {what}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
