"""Write the documents that follow from code: config/README.md from the schema, docs/outputs.md from the rules.

Run `python docs/generate.py`; with --check it only says whether they are up to date (exit code 1 if not).
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RULE = re.compile(r"^(?:    )*rule (\w+):\n((?:[ ]{4,}.*\n|\n)+)", re.MULTILINE)
SECTION = re.compile(r"^ {4,8}output:\n((?: {8,}.*\n)+)", re.MULTILINE)
PATH = re.compile(r'"(<[^"]+)"')
DOC = re.compile(r'"""(.+?)"""', re.DOTALL)

INTRO = """# Configuration

A study is a folder with `config/config.yaml`. Every key is optional; what you leave out has the default below. Lists
(atlases, contrasts, models) replace the default list as a whole, everything else is merged. A key that does not exist
is an error that names the nearest one that does. Changing a key re-runs what depends on it and nothing else.

Threads, memory and where jobs run are not here: they belong to the command line and the profile (`profiles/`).

This table is generated from `workflow/schemas/config.schema.yaml` by `python docs/generate.py`.
"""


def shown(value):
    """A default as a user would type it."""
    if value is None:
        return ""
    return f"`{yaml.safe_dump(value, default_flow_style=True).replace(chr(10), ' ').replace(' ...', '').strip()}`"


def allowed(schema):
    """Values a key takes, in words."""
    if "enum" in schema:
        return ", ".join(f"`{v}`" for v in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        inner = allowed(schema.get("items", {}))
        return f"list of {inner}" if inner else "list"
    words = {"integer": "whole number", "boolean": "true, false", "string": "text", "object": "mapping"}
    text = words.get(kind, kind)
    for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
        if key in schema:
            text += f" {sign} {schema[key]}"
    return text


def rows(schema, prefix=""):
    """Rows of the table, depth first."""
    for key, inner in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        nested = inner.get("items", {}) if inner.get("type") == "array" else inner
        if inner.get("type") == "object" and inner.get("properties"):
            yield from rows(inner, f"{name}.")
            continue
        default = shown(inner["default"]) if "default" in inner else ""
        yield f"| `{name}` | {allowed(inner)} | {default} | {inner.get('description', '').strip()} |"
        if nested is not inner and nested.get("properties"):
            yield from rows(nested, f"{name}[].")


def config_readme():
    """Text of config/README.md."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    table = ["| key | allowed | default | meaning |", "|---|---|---|---|", *rows(schema)]
    examples = ["", "## Examples", ""]
    for path in sorted((ROOT / "config/examples").glob("*/config.yaml")):
        first = path.read_text().splitlines()[0].lstrip("# ").strip()
        examples.append(f"* `config/examples/{path.parent.name}/`: {first}")
    return "\n".join([INTRO, *table, *examples]) + "\n"


def outputs():
    """Text of docs/outputs.md."""
    text = [
        "# Outputs",
        "",
        "Generated from the rules by `python docs/generate.py`. `<derivatives>` is `results/derivatives`, `<index>`",
        "`results/index`, `<reports>` `results/reports`, `<raw>` `bids`. `{visit}` is `sub-x` or `sub-x/ses-y`, `{scan}` the",
        "entities of the raw file. Every image and table others read has a JSON sidecar with units, settings and sources.",
    ]
    for path in sorted((ROOT / "workflow/rules").glob("[0-9]_*.smk")):
        text += ["", f"## {path.stem.partition('_')[2]}", ""]
        for name, body in RULE.findall(path.read_text()):
            if "script:" not in body:
                continue
            doc = " ".join(DOC.search(body).group(1).split())
            text += [f"**{name}**: {doc}", ""]
            for section in SECTION.findall(body):
                text += [f"* `{found}`" for found in PATH.findall(section)]
            text.append("")
        while text[-1] == "":
            text.pop()
    return "\n".join(text) + "\n"


def main():
    """Write or check."""
    stale = []
    for name, content in (("config/README.md", config_readme()), ("docs/outputs.md", outputs())):
        path = ROOT / name
        if not path.exists() or path.read_text() != content:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(content)
    if stale and "--check" in sys.argv:
        print("out of date, run `python docs/generate.py`:", ", ".join(stale))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
