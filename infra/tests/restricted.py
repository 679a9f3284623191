"""Knows the rules of Kubernetes' restricted Pod Security Standard that concern our pods."""

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def faults(pod):
    """Yields what the restricted standard refuses in the spec of a pod."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        if not volume.keys() - {"name"} <= VOLUMES:
            yield f"volume {volume['name']} has a forbidden type"
    own = pod.get("securityContext", {})
    for container in pod["containers"] + pod.get("initContainers", []):
        context = container.get("securityContext", {})
        effective = {**own, **context}
        if not effective.get("runAsNonRoot") or effective.get("runAsUser") == 0:
            yield f"{container['name']} may run as root"
        if effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{container['name']} has no seccomp profile"
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{container['name']} may gain privileges"
        capabilities = context.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{container['name']} keeps capabilities"
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{container['name']} uses a port of the host"
        # Not part of the standard: our images need no writable file system.
        if not context.get("readOnlyRootFilesystem"):
            yield f"{container['name']} has a writable file system"
