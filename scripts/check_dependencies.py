#!/usr/bin/env python3
"""Checks licences, bans and sources of all dependencies against deny.toml, without any download.

It is the offline part of `cargo deny check` for machines that do not have cargo-deny: it reads the
same deny.toml and asks `cargo metadata` for the facts.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Evaluates an SPDX expression (`A OR B AND (C)`, `/` as an old form of OR)."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def primary() -> bool:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            value = disjunction()
            position += 1
            return value
        if position + 1 < len(tokens) and tokens[position] == "WITH":
            token = f"{token} WITH {tokens[position + 1]}"
            position += 2
        return token in allowed

    def conjunction() -> bool:
        nonlocal position
        value = primary()
        while position < len(tokens) and tokens[position] == "AND":
            position += 1
            value &= primary()
        return value

    def disjunction() -> bool:
        nonlocal position
        value = conjunction()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            value |= conjunction()
        return value

    return disjunction()


def main() -> int:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    exceptions = {e["name"]: set(e["allow"]) for e in rules["licenses"].get("exceptions", [])}
    banned = {entry["name"] for entry in rules["bans"]["deny"]}
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked",
             "--filter-platform", "x86_64-unknown-linux-gnu"],
            cwd=ROOT, check=True, stdout=subprocess.PIPE,
        ).stdout
    )
    problems = []
    resolved = {node["id"] for node in metadata["resolve"]["nodes"]}
    packages = [p for p in metadata["packages"] if p["id"] in resolved]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if licence is None:
            problems.append(f"{name}: no licence stated")
        elif not is_allowed(licence, allowed | exceptions.get(package["name"], set())):
            problems.append(f"{name}: licence {licence} is not allowed")
        if package["name"] in banned:
            problems.append(f"{name}: banned in deny.toml")
        # Ours has no source; all others come from the one registry that cargo knows by default.
        if package["source"] is not None and not package["source"].startswith("registry+"):
            problems.append(f"{name}: comes from {package['source']}, not from a registry")
    registries = {p["source"] for p in packages if (p["source"] or "").startswith("registry+")}
    if len(registries) > 1:
        problems.append(f"more than one registry: {', '.join(sorted(registries))}")
    for problem in sorted(problems):
        print(problem, file=sys.stderr)
    print(f"dependencies: {len(packages)} packages checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
