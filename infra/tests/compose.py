"""Checks that exactly one service of a compose file builds each of our images, and that ports are on loopback. It only reads files.

`compose.py FILE...` prints each fault and exits with 1. `docker compose up --build SERVICE` builds the images of SERVICE
and of all services that it depends on, in parallel. Two builds of one tag fail with the containerd image store. A service
that does not build its image must therefore depend on the service that does.
"""

import sys
from pathlib import Path

import yaml


def services(file):
    """Returns the services of a compose file and of the files that it includes."""
    content = yaml.safe_load(file.read_text())
    found = dict(content.get("services") or {})
    for included in content.get("include", []):
        paths = included["path"] if isinstance(included, dict) else included
        for path in [paths] if isinstance(paths, str) else paths:
            found |= services(file.parent / path)
    return found


def tag(image):
    """Returns the full tag of an image, without the default registry."""
    image = image.removeprefix("docker.io/").removeprefix("library/")
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else f"{image}:latest"


def with_dependencies(name, known):
    found, todo = set(), [name]
    while todo:
        service = todo.pop()
        if service in known and service not in found:
            found.add(service)
            todo += known[service].get("depends_on", [])
    return found


def faults(known):
    builders = {}
    for name, service in known.items():
        if "build" in service:
            build = service["build"] if isinstance(service["build"], dict) else {}
            for image in {tag(image) for image in [service.get("image", name), *build.get("tags", [])]}:
                builders.setdefault(image, []).append(name)
    for image, names in builders.items():
        if len(names) > 1:
            yield f"{' and '.join(names)} would build {image} in parallel. Let one build it, and the others depend on it"
    for name, service in known.items():
        image = tag(service.get("image", name))
        # Images with a registry or an owner in their name are pulled. The others are ours.
        if "/" not in image and not with_dependencies(name, known) & set(builders.get(image, [])):
            yield f"{name} needs {image}, but neither {name} nor a service that it depends on builds it"
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name} publishes port {port} to the network. Begin with 127.0.0.1:"


def main():
    found = [f"{file}: {fault}" for file in sys.argv[1:] for fault in faults(services(Path(file)))]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
