"""The bill of materials of the program, as CycloneDX 1.6: `cargo metadata --format-version 1 --locked --filter-platform HOST` on standard input.

What is compiled in and what builds it, from the lock file; nothing that only tests need.
"""

import json
import sys

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def needed(node):
    """What a package is built with, less what only its tests need."""
    return [
        dependency["pkg"]
        for dependency in node["deps"]
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
    ]


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind):
    """A package as CycloneDX wants it; the lock file's checksum is that of the archive."""
    licences = package["license"] and [{"expression": package["license"].replace("/", " OR ")}]
    fields = {
        "type": kind,
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        "description": (package["description"] or "").strip(),
        "licenses": licences or [],
    }
    return {key: value for key, value in fields.items() if value}


reached, waiting = set(), [root]
while waiting:
    identity = waiting.pop()
    if identity not in reached:
        reached.add(identity)
        waiting.extend(needed(nodes[identity]))
parts = sorted((packages[identity] for identity in reached), key=reference)
if unlicensed := [reference(part) for part in parts if not part["license"]]:
    sys.exit(f"without a licence: {', '.join(unlicensed)}")
bill = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": component(packages[root], "application")},
    "components": [component(part, "library") for part in parts if part["id"] != root],
    "dependencies": [
        {
            "ref": reference(part),
            "dependsOn": sorted({reference(packages[identity]) for identity in needed(nodes[part["id"]])}),
        }
        for part in parts
    ],
}
json.dump(bill, sys.stdout, indent=1)
print(f"\n{len(bill['components'])} components", file=sys.stderr)
