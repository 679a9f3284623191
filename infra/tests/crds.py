"""Validates custom resources against the CustomResourceDefinitions of their operators.

`crds.py FOLDER FILE...` reads the definitions in FOLDER and the manifests in the FILEs. Fields that a definition does not know are
faults, because a cluster drops them silently. It prints the kinds that have no definition in FOLDER, and exits with 1 on a fault.
"""

import sys
from pathlib import Path

import jsonschema
import yaml


def definitions(folder):
    """Returns the schema of each kind and version."""
    found = {}
    for file in folder.rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document["kind"] == "CustomResourceDefinition":
                for version in document["spec"]["versions"]:
                    group, kind = document["spec"]["group"], document["spec"]["names"]["kind"]
                    found[f"{group}/{version['name']}", kind] = strict(version["schema"]["openAPIV3Schema"], top=True)
    return found


def strict(schema, top=False):
    """Returns a JSON schema that refuses unknown fields, as `kubectl apply --validate=strict` does."""
    schema = dict(schema)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
        schema["type"] = ["integer", "string"]
        schema.pop("anyOf", None)
    properties = {name: strict(inner) for name, inner in schema.get("properties", {}).items()}
    if top:
        # The definition leaves these to Kubernetes.
        properties |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    if properties:
        schema["properties"] = properties
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        schema["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = strict(schema["additionalProperties"])
    schema.pop("format", None)
    return schema


def main():
    known, unknown, count = definitions(Path(sys.argv[1])), set(), 0
    faults = []
    for file in sys.argv[2:]:
        for manifest in yaml.safe_load_all(Path(file).read_text()):
            version, kind = manifest["apiVersion"], manifest["kind"]
            if "." not in version.split("/")[0] or version.split("/")[0].endswith(".k8s.io"):
                continue
            if (version, kind) not in known:
                unknown.add(kind)
                continue
            count += 1
            for error in jsonschema.Draft202012Validator(known[version, kind]).iter_errors(manifest):
                faults.append(f"{file}: {kind} {manifest['metadata']['name']}, {error.json_path}: {error.message}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"crds: {count} custom resources match. No definition: {' '.join(sorted(unknown)) or 'none'}")


if __name__ == "__main__":
    main()
