"""Follows the path of infra/README.md from Terraform's outputs to a running program, as far as no cloud and no cluster is needed.

It writes the outputs to the .env files of a copy of the example and renders it. Other checks then run the program with the arguments
and the environment of a rendered container.
"""

import overlays
from failure import expect

INSTALLATIONS = {installation.name: installation for installation in overlays.INSTALLATIONS}


def env_file(settings):
    """Returns what `terraform output -raw …_env` prints."""
    return "".join(f"{name}={value}\n" for name, value in sorted(settings.items()))


def rendered(name, settings):
    """Renders an installation. `settings` has the settings of each .env file, by its name."""
    files = {f"{file}.env": env_file(values) for file, values in settings.items()}
    with overlays.copied(INSTALLATIONS[name], files) as overlay:
        return overlays.documents(overlay)


def container(manifests, kind, name):
    """Returns the arguments and the environment of a container, without what only Kubernetes knows."""
    pod = dict(overlays.pods(manifests))[f"{kind} {name}"]["spec"]["containers"][0]
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in overlays.of_kind(manifests, "ConfigMap")}
    found = {}
    for source in pod["envFrom"]:
        found |= maps[source["configMapRef"]["name"]]
    found |= {variable["name"]: variable["value"] for variable in pod["env"] if "value" in variable}
    return pod["args"], found


def checks(manifests):
    """Returns the names of the Jobs that check an installation."""
    names = [job["metadata"]["name"] for job in overlays.of_kind(manifests, "CronJob")]
    found = [name for name in names if name.split("-")[0] == "check"]
    expect(found, "no Job checks the installation")
    return found
