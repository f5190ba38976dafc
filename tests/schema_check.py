#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""schema_check.py SCHEMA FILE...: validate JSON files against the keywords of JSON Schema that our schema uses.

An unknown keyword in the schema is an error, so that nothing is left unchecked by accident. Exit 1 if a file
does not satisfy the schema, 2 if the schema is not one."""
import json
import re
import sys

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}
KNOWN = {
    "$schema", "title", "description", "$defs", "$ref", "type", "const", "enum", "anyOf", "required",
    "properties", "additionalProperties", "propertyNames", "items", "minItems", "maxItems", "minimum", "maximum",
    "minLength", "pattern",
}


def bad_keywords(schema, path="schema"):
    """Keywords outside KNOWN and references that lead nowhere."""
    if isinstance(schema, bool):
        return
    for key in schema:
        if key not in KNOWN:
            yield f"{path}: unknown keyword {key}"
    for key in ("properties", "$defs"):
        for name, sub in schema.get(key, {}).items():
            yield from bad_keywords(sub, f"{path}.{key}.{name}")
    for key in ("items", "additionalProperties", "propertyNames"):
        if key in schema:
            yield from bad_keywords(schema[key], f"{path}.{key}")
    for i, sub in enumerate(schema.get("anyOf", [])):
        yield from bad_keywords(sub, f"{path}.anyOf[{i}]")
    if "$ref" in schema and not schema["$ref"].startswith("#/$defs/"):
        yield f"{path}: reference {schema['$ref']}"


def same(a, b):
    return type(a) is type(b) and a == b


def problems(root, schema, value, path):
    """Everything about ${value} that ${schema} forbids."""
    if schema is True:
        return
    if schema is False:
        yield f"{path}: not allowed"
        return
    if "$ref" in schema:
        yield from problems(root, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, path)
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(TYPES[t](value) for t in types):
            yield f"{path}: not of type {'|'.join(types)}"
            return
    if "const" in schema and not same(schema["const"], value):
        yield f"{path}: not {schema['const']}"
    if "enum" in schema and not any(same(e, value) for e in schema["enum"]):
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "anyOf" in schema and all(any(problems(root, s, value, path)) for s in schema["anyOf"]):
        yield f"{path}: {value!r} fits no alternative"
    if isinstance(value, dict):
        yield from object_problems(root, schema, value, path)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path}: {len(value)} items"
        for i, item in enumerate(value):
            yield from problems(root, schema.get("items", True), item, f"{path}[{i}]")
    if TYPES["integer"](value):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path}: {value} out of range"
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{path}: too short"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} is not like {schema['pattern']}"


def object_problems(root, schema, value, path):
    known = schema.get("properties", {})
    for key in schema.get("required", []):
        if key not in value:
            yield f"{path}: {key} is missing"
    for key, member in value.items():
        if "propertyNames" in schema:
            yield from problems(root, schema["propertyNames"], key, f"{path}.{key} (key)")
        yield from problems(root, known.get(key, schema.get("additionalProperties", True)), member, f"{path}.{key}")


def main(argv):
    with open(argv[1], encoding="utf-8") as f:
        schema = json.load(f)
    wrong = list(bad_keywords(schema))
    if wrong:
        print("\n".join(wrong))
        return 2
    status = 0
    for name in argv[2:]:
        with open(name, encoding="utf-8") as f:
            for problem in problems(schema, schema, json.load(f), "$"):
                print(f"{name}: {problem}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv))
