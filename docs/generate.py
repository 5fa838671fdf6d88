"""Write the documents that follow from code: config/README.md from the schema, docs/outputs.md from the rules.

Run `python docs/generate.py`; with --check it only says whether they are up to date (exit code 1 if not).
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
HEAD = re.compile(r"^( *)(?:rule|checkpoint) *(\w*):")
NAME = re.compile(r'name:\s*f?"(\w+?)(?:_\{\w+\})?"')
CONSTANT = re.compile(r'^([A-Z_]+) = f?"([^"]+)"', re.MULTILINE)
SECTION = re.compile(r"^ {4,8}output:\n((?: {8,}.*\n)+)", re.MULTILINE)
PATH = re.compile(r'f?"((?:<|\{[A-Z])[^"]+)"|\b([A-Z][A-Z_]+)\b(?=[,)\n])')
DOC = re.compile(r'"""(.+?)"""', re.DOTALL)

INTRO = """# Configuration

A study is a folder with `config/config.yaml`. Every key is optional; what you leave out has the default below. Lists
(atlases, contrasts, models) replace the default list as a whole, everything else is merged. A key that does not exist
is an error that names the nearest one that does. Changing a key re-runs what depends on it and nothing else.

Threads, memory and where jobs run are not here: they belong to the command line and the profile (`profiles/`).

This table is generated from `workflow/schemas/config.schema.yaml` by `python docs/generate.py`.
"""


def parse_rules(text):
    """Name and body of every rule of a rule file.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of (str, str)
        A rule made once per task (``name: f"x_{TASK}"``) is called ``x``.
    """
    found, body, depth = [], None, 0
    for line in text.splitlines(keepends=True):
        head = HEAD.match(line)
        if head or (line.strip() and len(line) - len(line.lstrip()) <= depth):
            body = None
        if head:
            depth, body = len(head.group(1)), []
            found.append((head.group(2), body))
        elif body is not None:
            body.append(line)
    named = []
    for name, lines in found:
        body = "".join(lines)
        named.append((name or NAME.search(body).group(1), body))
    return named


def shown(value):
    """A default as a user would type it."""
    if value is None:
        return ""
    return f"`{yaml.safe_dump(value, default_flow_style=True).replace(chr(10), ' ').replace(' ...', '').strip()}`"


def allowed(schema):
    """Values a key takes, in words."""
    if "enum" in schema:
        return ", ".join(f"`{v}`" for v in schema["enum"])
    if "anyOf" in schema:
        return ", ".join(allowed(part) for part in schema["anyOf"])
    kind = schema.get("type", "")
    if kind == "array":
        inner = allowed(schema.get("items", {}))
        return f"list of {inner}" if inner else "list"
    words = {"integer": "whole number", "boolean": "true, false", "string": "text", "object": "mapping"}
    text = words.get(kind, kind)
    for key, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
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
        constants = dict(CONSTANT.findall(path.read_text()))
        for name, body in parse_rules(path.read_text()):
            if "script:" not in body:
                continue
            doc = " ".join(DOC.search(body).group(1).split())
            text += [f"**{name}**: {doc}", ""]
            for literal, constant in PATH.findall("".join(SECTION.findall(body))):
                found = literal or constants.get(constant, "")
                for key, value in list(constants.items())[::-1] * 2:
                    found = re.sub(rf"(?<!\{{)\{{{key}\}}(?!\}})", value.replace("\\", ""), found)
                found = found.replace("{MNI}", "MNI152NLin2009aSym").replace("{{", "{").replace("}}", "}")
                text += [f"* `{found}`"] if found.startswith("<") else []
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
