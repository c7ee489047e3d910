"""Make lsml_utils/kubernetes_1.37.json.gz: Kubernetes' own definitions without their descriptions.

python scripts/kubernetes_schema.py kubernetes_validate-1.37.0-py3-none-any.whl

The wheel is that of PyPI (pip download --no-deps kubernetes-validate==1.37.0). It holds the OpenAPI definitions of
Kubernetes 1.37 (https://github.com/kubernetes/kubernetes, Apache-2.0) as JSON schemas.
"""

import gzip
import json
import sys
import zipfile
from pathlib import Path

MEMBER = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local/_definitions.json"
TARGET = Path(__file__).parents[1] / "lsml_utils" / "kubernetes_1.37.json.gz"


def without_descriptions(part, names: bool):
    """names: whether the keys of this dictionary are names that the API gives, one of which may be "description"."""
    if isinstance(part, list):
        return [without_descriptions(one, False) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {key: one for key, one in part.items() if names or not (key == "description" or key.startswith("x-"))}
    return {key: without_descriptions(one, key == "properties" and not names) for key, one in kept.items()}


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        definitions = json.loads(archive.read(MEMBER))["$defs"]
    text = json.dumps(without_descriptions(definitions, True), separators=(",", ":"), sort_keys=True)
    # "/api/_definitions.json#/$defs/NAME" becomes "#/$defs/NAME".
    TARGET.write_bytes(gzip.compress(text.replace('"/api/_definitions.json#', '"#').encode(), 9, mtime=0))
    print(f"{TARGET}: {len(definitions)} definitions, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
