"""Kubernetes manifests against Kubernetes' own schema, without a cluster and without a network.

The definitions are those of Kubernetes 1.37 (https://github.com/kubernetes/kubernetes), as JSON schemas of the package
kubernetes-validate 1.37.0 (https://github.com/willthames/kubernetes-validate). Both are under Apache-2.0; its text is
in `kubernetes_1.37.LICENSE`. Changed here: descriptions are left out, and references are local.
`scripts/kubernetes_schema.py` made the file.
"""

import gzip
import json
from functools import cache
from pathlib import Path

VERSION = "1.37"
FILE = Path(__file__).with_name("kubernetes_1.37.json.gz")


def schema_problems(document: dict) -> list[str]:
    """What Kubernetes 1.37's schema finds wrong with a manifest, a line for each; an empty list where all is well.

    Strict: also a field that the schema does not know, which is mostly a misspelt one. What a schema cannot see (a
    selector that matches nothing, say) passes.

    >>> schema_problems({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
    []
    >>> schema_problems({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selektor": {}}})
    ["spec: Additional properties are not allowed ('selektor' was unexpected)"]
    """
    if not isinstance(document, dict):
        return ["a manifest is a dictionary"]
    kind = str(document.get("apiVersion")), str(document.get("kind"))
    if kind not in _kinds():
        return [f"Kubernetes {VERSION} has no kind {kind[1]} in {kind[0]}"]
    found = sorted(
        _validator(_kinds()[kind]).iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path]
    )
    return [f"{'.'.join(map(str, error.absolute_path)) or 'the document'}: {error.message}" for error in found]


@cache
def _validator(name: str):
    import jsonschema

    return jsonschema.Draft202012Validator({"$ref": f"urn:kubernetes#/$defs/{name}"}, registry=_registry())


@cache
def _registry():
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    every = Resource(contents={"$defs": _definitions()}, specification=DRAFT202012)
    return Registry().with_resource("urn:kubernetes", every)


@cache
def _definitions() -> dict:
    definitions = json.loads(gzip.decompress(FILE.read_bytes()))
    for definition in definitions.values():
        if definition.get("properties") and "additionalProperties" not in definition:
            definition["additionalProperties"] = False
    return definitions


@cache
def _kinds() -> dict[tuple[str, str], str]:
    """The definition of each (apiVersion, kind)."""
    kinds = {}
    for name, definition in _definitions().items():
        properties = definition.get("properties", {})
        versions, names = (properties.get(key, {}).get("enum", []) for key in ("apiVersion", "kind"))
        kinds |= {(version, kind): name for version in versions for kind in names}
    return kinds
