"""How a container is run: health check, dependencies, restarts, limits, security, logging.

Each parser reads one field of a service; those that set several fields of the spec give a mapping.
"""

from __future__ import annotations

import re
import signal
from typing import Any

from agent.manifest.log_tags import check_tag
from agent.manifest.nodes import Mapping, Node, Scalar, Sequence
from agent.manifest.parse_values import (
    MAX_INTEGER,
    Parser,
    boolean,
    choice,
    did_you_mean,
    duration,
    fields,
    integer,
    items,
    named,
    number,
    one_or_list,
    positive_duration,
    size,
    string_map,
    text,
    texts,
)
from agent.manifest.pull_policy import MIN_SECONDS, period_seconds
from agent.manifest.pull_policy import NAMES as PULL_POLICIES
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import Dependency, Healthcheck, Logging, Restart, UlimitSpec
from runtime.errors import Invalid
from runtime.images.platforms import parse_platform
from runtime.security import check_system_path

HTTP = re.compile(r"(http://[A-Za-z0-9.-]*|http://\[[0-9a-fA-F:.]+\])?:([0-9]{1,5})(/[\x21-\x7e]*)?")
TCP = re.compile(r"([A-Za-z0-9.-]*|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")
POLICIES = ("no", "always", "on-failure", "unless-stopped")
_LIMITS = """
as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""
LIMITS = tuple(_LIMITS.split())
CAPABILITY = re.compile(r"(CAP_)?[A-Z_]+")
SIGNAL_NAMES = frozenset(name.name for name in signal.Signals)


# --- health -----------------------------------------------------------------------------------


def _test(r: Reading, node: Node) -> tuple[str, ...]:
    if isinstance(node, Scalar):
        return ("CMD-SHELL", text(r, node))
    if isinstance(node, Mapping):
        raise Refuse("needs a text or a list, not a mapping")
    test = texts(r, node)
    if not test or test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise Refuse("must start with CMD, CMD-SHELL or NONE", '["CMD", "program", "argument"]')
    if (test[0] == "CMD-SHELL" and len(test) != 2) or (test[0] == "CMD" and len(test) < 2):
        raise Refuse(f"{test[0]} needs {'one line' if test[0] == 'CMD-SHELL' else 'a program'} after it")
    return test


def _http(r: Reading, node: Node) -> str:
    value = text(r, node)
    if value.startswith("https:"):
        raise Refuse("https probes are not supported yet")
    return _probe(value, HTTP, '"http://:8080/healthz" or ":8080/healthz"')


def _tcp(r: Reading, node: Node) -> str:
    return _probe(text(r, node), TCP, '":5432"')


def _probe(value: str, pattern: re.Pattern[str], hint: str) -> str:
    match = pattern.fullmatch(value)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise Refuse(f'"{value[:60]}" is not an address to probe', hint)
    return value


HEALTHCHECK_FIELDS: dict[str, Parser[Any]] = {
    "test": _test,
    "http": _http,
    "tcp": _tcp,
    "interval": positive_duration,
    "timeout": positive_duration,
    "retries": integer(1, 1_000_000),
    "start_period": duration,
    "start_interval": positive_duration,
    "disable": boolean,
}


def healthcheck(r: Reading, node: Node) -> Healthcheck:
    values = fields(r, node, HEALTHCHECK_FIELDS)
    ways = [name for name in ("test", "http", "tcp") if name in values]
    if len(ways) > 1:
        raise Refuse(f"{' and '.join(ways)} exclude each other", "keep one of them")
    if values.get("disable") and ways:
        raise Refuse(f"disable and {ways[0]} exclude each other", "keep one of them")
    return Healthcheck(**values)


# --- dependencies and restarts ----------------------------------------------------------------

DEPENDENCY_FIELDS: dict[str, Parser[Any]] = {
    "condition": choice("service_started", "service_healthy", "service_completed_successfully"),
    "restart": boolean,
    "required": boolean,
}


def depends_on(r: Reading, node: Node) -> dict[str, Dependency]:
    if isinstance(node, Sequence):
        result = {}
        for name, item in zip(texts(r, node), node.items, strict=True):
            r.refer("service", name, item)
            result[name] = Dependency()
        return result

    def one(r: Reading, node: Node) -> Dependency:
        return Dependency(**fields(r, node, DEPENDENCY_FIELDS, required=("condition",)))

    result = named(r, node, one, "service")
    assert isinstance(node, Mapping)
    for name, dependency in result.items():
        r.refer("service", name, node.entries[name].key, required=dependency.required)
    return result


def restart(r: Reading, node: Node) -> Restart:
    """A policy's name, `on-failure:5`, or a mapping with Setpoint's window."""
    if isinstance(node, Mapping):
        table = {"policy": choice(*POLICIES), "max_attempts": integer(1, 10_000), "window": positive_duration}
        values = fields(r, node, table, required=("policy",))
        if "window" in values:
            values["window_seconds"] = values.pop("window")
        return Restart(**values)
    value = text(r, node)
    policy, colon, attempts = value.partition(":")
    if policy not in POLICIES:
        raise Refuse(f'"{value}" is not one of {", ".join(POLICIES)}', did_you_mean(policy, POLICIES))
    if not colon:
        return Restart(policy=policy)
    if policy != "on-failure" or not re.fullmatch("[0-9]{1,4}", attempts) or int(attempts) == 0:
        raise Refuse(
            f'"{value}" is not a restart policy', 'a number goes with on-failure only: "on-failure:5"'
        )
    return Restart(policy="on-failure", max_attempts=int(attempts))


CONDITIONS = {"none": "no", "on-failure": "on-failure", "any": "always"}


def _restart_policy(r: Reading, node: Node) -> Restart:
    """deploy.restart_policy."""
    table: dict[str, Parser[Any]] = {
        "condition": choice(*CONDITIONS),
        "max_attempts": integer(1, 10_000),
        "window": positive_duration,
    }
    values = fields(r, node, table, lacking=("delay",))
    result: dict[str, Any] = {"policy": CONDITIONS[values.get("condition", "any")]}
    if "max_attempts" in values:
        result["max_attempts"] = values["max_attempts"]
    if "window" in values:
        result["window_seconds"] = values["window"]
    return Restart(**result)


# --- limits -----------------------------------------------------------------------------------


def _section(table: dict[str, Parser[Any]], *lacking: str) -> Parser[dict[str, Any]]:
    return lambda r, node: fields(r, node, table, lacking=lacking)


pids = integer(-1, 4_194_304)  # the kernel's PID_MAX_LIMIT
LEAST_CPUS = 0.01  # the kernel's shortest quota is 1 ms, sched-bwc(7), of a period of 100 ms
LEAST_CPU_SHARES = 2  # the kernel makes it so


def cpus(r: Reading, node: Node) -> float:
    value = number(0.0)(r, node)
    if 0 < value < LEAST_CPUS:
        raise Refuse(f"{value:g} is out of range", f"at least {LEAST_CPUS:g}, or 0 for no limit")
    return value


def cpu_shares(r: Reading, node: Node) -> int:
    value = integer(0, 262_144)(r, node)
    if 0 < value < LEAST_CPU_SHARES:
        raise Refuse(f"{value} is out of range", f"at least {LEAST_CPU_SHARES}, or 0 for the default")
    return value


DEPLOY_FIELDS: dict[str, Parser[Any]] = {
    "mode": choice("replicated"),
    "replicas": integer(0, 10_000),
    "resources": _section(
        {
            "limits": _section({"cpus": cpus, "memory": size, "pids": pids}),
            "reservations": _section({"memory": size}, "cpus", "generic_resources", "devices"),
        }
    ),
    "restart_policy": _restart_policy,
}
DEPLOY_LACKING = ("labels", "endpoint_mode", "update_config", "rollback_config", "placement")


def deploy(r: Reading, node: Node) -> dict[str, Any]:
    """The fields of the spec that a `deploy` section sets."""
    values = fields(r, node, DEPLOY_FIELDS, lacking=DEPLOY_LACKING)
    result: dict[str, Any] = {}
    limits = values.get("resources", {}).get("limits", {})
    for name, target in (("cpus", "cpus"), ("memory", "mem_limit"), ("pids", "pids_limit")):
        if name in limits:
            result[target] = limits[name]
    reservations = values.get("resources", {}).get("reservations", {})
    if "memory" in reservations:
        result["mem_reservation"] = reservations["memory"]
    if "replicas" in values:
        result["scale"] = values["replicas"]
    if "restart_policy" in values:
        result["restart"] = values["restart_policy"]
    return result


def _ulimit(r: Reading, node: Node) -> UlimitSpec:
    limit = integer(-1, MAX_INTEGER)
    if isinstance(node, Scalar):
        value = limit(r, node)
        return UlimitSpec(soft=value, hard=value)
    values = fields(r, node, {"soft": limit, "hard": limit}, required=("soft", "hard"))
    if values["hard"] != -1 and (values["soft"] > values["hard"] or values["soft"] == -1):
        raise Refuse("soft is over hard")
    return UlimitSpec(**values)


def ulimits(r: Reading, node: Node) -> dict[str, UlimitSpec]:
    result = named(r, node, _ulimit, "limit")
    for name in result:
        if name not in LIMITS:
            raise Refuse(f'"{name}" is not a limit', did_you_mean(name, LIMITS) or ", ".join(LIMITS))
    return result


# --- security, signals, logging ---------------------------------------------------------------


def capabilities(r: Reading, node: Node) -> tuple[str, ...]:
    """Names with or without CAP_, in any case; written out without it."""

    def one(r: Reading, node: Node) -> str:
        name = text(r, node).upper()
        if not CAPABILITY.fullmatch(name):
            raise Refuse(f'"{name}" is not a capability', "such as NET_ADMIN, or ALL")
        return name.removeprefix("CAP_")

    return items(r, node, one)


def security_opt(r: Reading, node: Node) -> dict[str, Any]:
    """The fields of the spec that `security_opt` sets."""
    result: dict[str, Any] = {}
    for entry in items(r, node, _security_option):
        result |= entry
    return result


def _security_option(r: Reading, node: Node) -> dict[str, Any]:
    option = text(r, node)
    name, value = re.fullmatch(r"([^:=]*)[:=]?(.*)", option, re.DOTALL).groups()  # type: ignore[union-attr]
    if name == "no-new-privileges" and value in ("", "true", "false"):
        return {"no_new_privileges": value != "false"}
    if name == "seccomp" and value:
        is_word = value in ("unconfined", "default", "builtin")
        return {"seccomp": value.replace("builtin", "default") if is_word else r.host_path(value)}
    if name == "apparmor" and value:
        return {"apparmor": value}
    if name == "systempaths" and value == "unconfined":
        return {"masked_paths": False}
    if name == "label":
        raise Refuse("SELinux labels are not supported yet", "remove the option: nothing is labelled here")
    hint = (
        "no-new-privileges:true, seccomp=unconfined, seccomp=FILE, apparmor=PROFILE, systempaths=unconfined"
    )
    raise Refuse(f'"{option}" is not a security option', hint)


def system_paths(r: Reading, node: Node) -> tuple[str, ...]:
    """Those that are hidden, or read-only, in place of the usual ones; [] for none."""
    return items(r, node, _system_path)


def _system_path(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        check_system_path(value)
    except Invalid as error:
        raise Refuse(f'"{value[:100]}" is {error.reason}', error.hint) from None
    return value


def stop_signal(r: Reading, node: Node) -> str:
    """SIGTERM, TERM, 15, RTMIN+3."""
    value = text(r, node)
    name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
    is_number = re.fullmatch("[0-9]{1,2}", value) is not None and 1 <= int(value) <= 64
    if is_number or name in SIGNAL_NAMES or re.fullmatch(r"SIGRTM(IN\+|AX-)[0-9]{1,2}", name):
        return value
    raise Refuse(
        f'"{value}" is not a signal', did_you_mean(name, SIGNAL_NAMES, 0.8) or "such as SIGTERM or SIGINT"
    )


def _log_size(r: Reading, node: Node) -> int:
    result = size(r, node)
    if result < 4096:
        raise Refuse("must be at least 4096 bytes", "logs are always bounded")
    return result


def _log_tag(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        check_tag(value)
    except Invalid as error:
        raise Refuse(error.reason.removeprefix("log opt tag: "), error.hint) from None
    return value


# The last two may be said as they change nothing that anybody sees.
LOG_OPTIONS: dict[str, Parser[Any]] = {
    "max-size": _log_size, "max-file": integer(1, 1000), "labels": text, "env": text, "tag": _log_tag,
    "compress": boolean, "mode": choice("blocking"),
}  # fmt: skip
_LOG_FIELDS = {
    "max-size": "max_size_bytes", "max-file": "max_file", "labels": "labels", "env": "env", "tag": "tag",
}  # fmt: skip
LOG_DRIVERS = ("json-file", "local", "none")
OTHER_DRIVERS = ("syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs")


def _driver(r: Reading, node: Node) -> str:
    value = text(r, node)
    if value in OTHER_DRIVERS:
        raise Refuse(f'"{value}" is not supported yet', "json-file, local or none")
    return choice(*LOG_DRIVERS)(r, node)


def logging(r: Reading, node: Node) -> Logging:
    options = _section(LOG_OPTIONS, "labels-regex", "env-regex", "max-buffer-size")
    values = fields(r, node, {"driver": _driver, "options": options})
    if values.get("driver") == "none" and values.get("options"):
        raise Refuse("the driver none has no options", "leave them out")
    result = {"driver": values["driver"]} if "driver" in values else {}
    for name, target in _LOG_FIELDS.items():
        if name in values.get("options", {}):
            result[target] = values["options"][name]
    return Logging(**result)


def pull_policy(r: Reading, node: Node) -> str:
    value = text(r, node)
    if value in ("build", "refresh"):
        raise Refuse(f'"{value}" is not supported yet', "always, if_newer, missing, never or every_12h")
    if value.startswith("every_"):
        if period_seconds(value) < MIN_SECONDS:
            raise Refuse(f'"{value}" is no time of at least a minute', "every_12h, every_1d6h, daily")
        return value
    return choice(*PULL_POLICIES)(r, node)


def platform(r: Reading, node: Node) -> str:
    """One spelling for each, so that another one makes no new container."""
    try:
        return str(parse_platform(text(r, node)))
    except Invalid as error:
        raise Refuse(f"{error.subject} is {error.reason}", error.hint) from None


groups: Parser[tuple[str, ...]] = one_or_list(text)
sysctls = string_map
