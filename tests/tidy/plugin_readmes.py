#!/usr/bin/env python3
"""Writes the parameter table of each plugin folder's README.md from its params.schema.json.

  plugin_readmes.py [--check] [ROOT]

With --check nothing is written: prints what is wrong and exits with 1 if a folder lacks its schema or
README, a README lacks its markers, its table is not what the schema says, or the schema's title is not
the folder's name.
"""

import json
import pathlib
import sys

BEGIN = "<!-- parameters: generated from params.schema.json -->"
END = "<!-- end of parameters -->"


def type_of(schema):
    """The type in words: "number", "list of text", ..."""
    if "oneOf" in schema:
        return " or ".join(type_of(one) for one in schema["oneOf"])
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("format") == "duration":
        return "duration"
    words = {"string": "text", "array": "list", "object": "map", "boolean": "true or false"}
    types = schema.get("type", "anything")
    types = [types] if isinstance(types, str) else types
    text = " or ".join(words.get(one, one) for one in types if one != "null")
    if types == ["array"] and isinstance(schema.get("items"), dict) and "type" in schema["items"]:
        text += " of " + type_of(schema["items"])
    elif types == ["object"] and isinstance(schema.get("additionalProperties"), dict):
        text += " of " + type_of(schema["additionalProperties"])
    return text


def limits_of(schema):
    """The bounds of a value: "0..1", "> 0", "at most 64 elements"."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low}..{high}"
    parts = []
    for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"),
                      ("maximum", "<="), ("exclusiveMaximum", "<")):
        if key in schema:
            parts.append(f"{sign} {schema[key]}")
    for key, text in (("minItems", "at least {} elements"), ("maxItems", "at most {} elements"),
                      ("minLength", "at least {} bytes"), ("maxLength", "at most {} bytes"),
                      ("minProperties", "at least {} members")):
        if key in schema and not (key == "minLength" and schema[key] == 1):
            parts.append(text.format(schema[key]))
    if schema.get("minLength") == 1:
        parts.append("not empty")
    return ", ".join(parts)


def rows_of(schema, prefix=""):
    """One row (name, type, default, meaning) per parameter, nested ones after theirs."""
    required = schema.get("required", [])
    for name, one in schema.get("properties", {}).items():
        path = prefix + name
        kind = type_of(one)
        limits = limits_of(one)
        unit = one.get("x-unit", "")
        kind = ", ".join(part for part in (kind, limits, unit) if part)
        if "default" in one:
            default = f"`{json.dumps(one['default'], ensure_ascii=False)}`"
        else:
            default = "required" if name in required else ""
        meaning = one.get("description", "")
        if one.get("deprecated"):
            meaning = ("Deprecated. " + meaning).strip()
        yield path, kind, default, meaning
        for nested, suffix in ((one, "."), (one.get("items"), "[]."),
                               (one.get("additionalProperties"), ".*.")):
            if isinstance(nested, dict) and "properties" in nested:
                yield from rows_of(nested, path + suffix)


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def table_of(schema):
    rows = list(rows_of(schema))
    lines = []
    if rows:
        lines += ["| parameter | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| `{cell(name)}` | {cell(kind)} | {cell(default)} | {cell(meaning)} |"
                  for name, kind, default, meaning in rows]
    else:
        lines.append("No parameters.")
    if schema.get("additionalProperties") is True:
        lines += ["", "Unknown parameters are ignored with a warning."]
    return "\n".join(lines)


def updated(readme, schema):
    """The README with its table, or None if it has no markers."""
    begin, end = readme.find(BEGIN), readme.find(END)
    if begin < 0 or end < begin:
        return None
    return readme[:begin] + BEGIN + "\n" + table_of(schema) + "\n" + readme[end:]


def visit(folder, check):
    """Writes or checks one folder; returns what is wrong with it."""
    problems = []
    schema_path, readme_path = folder / "params.schema.json", folder / "README.md"
    for path in (schema_path, readme_path):
        if not path.is_file():
            problems.append(f"{path}: missing")
    if problems:
        return problems
    try:
        schema = json.loads(schema_path.read_text(encoding="utf-8"))
    except ValueError as error:
        return [f"{schema_path}: {error}"]
    if schema.get("title") != folder.name:
        problems.append(f"{schema_path}: title is {schema.get('title')!r}, expected {folder.name!r}")
    readme = readme_path.read_text(encoding="utf-8")
    fresh = updated(readme, schema)
    if fresh is None:
        problems.append(f"{readme_path}: no line {BEGIN!r} followed by {END!r}")
    elif fresh != readme and check:
        problems.append(f"{readme_path}: not what the schema says; run tests/tidy/plugin_readmes.py")
    elif fresh != readme:
        readme_path.write_text(fresh, encoding="utf-8")
    return problems


def main(arguments):
    check = "--check" in arguments
    roots = [one for one in arguments if one != "--check"]
    root = pathlib.Path(roots[0] if roots else pathlib.Path(__file__).parents[2])
    folders = sorted(path for kind in (root / "plugins").iterdir() if kind.is_dir()
                     for path in kind.iterdir() if path.is_dir())
    problems = [problem for folder in folders for problem in visit(folder, check)]
    for problem in problems:
        print(problem)
    if not folders:
        print(f"{root}: no plugin folders")
    return 1 if problems or not folders else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
