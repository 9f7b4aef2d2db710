"""What every field of a manifest means, with an example: the one table behind `explain` and `schema`.

A test holds the table to the parsers: every field that is read is described, and every example is read
without an error and fits the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = Mapping[str, Any]

TEXT: JSON = {"type": ["string", "number", "boolean"]}
NUMBER: JSON = {"type": ["number", "string"]}
INTEGER: JSON = {"type": ["integer", "string"]}
BOOLEAN: JSON = {"type": ["boolean", "string"]}
SIZE: JSON = {"type": ["integer", "string"], "pattern": r"^(-1|[0-9.]+ ?([kmgtpKMGTP]?[iI]?[bB]?)|.*\$.*)$"}
DURATION: JSON = {"type": ["string", "integer"]}
LIST: JSON = {"type": "array", "items": TEXT}
ONE_OR_LIST: JSON = {"oneOf": [TEXT, LIST]}
COMMAND: JSON = {"oneOf": [TEXT, LIST, {"type": "null"}]}
PAIRS: JSON = {
    "oneOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        LIST,
    ]
}


def one_of(*words: str) -> JSON:
    return {"enum": list(words)}


@dataclass(frozen=True, slots=True)
class Description:
    """text: what the field means, a sentence or two. example: YAML of one such field. fields: those below
    it. many: the fields are those of each entry of a mapping or list."""

    text: str
    example: str = ""
    schema: JSON = field(default_factory=dict)
    fields: Mapping[str, Description] = field(default_factory=dict)
    many: bool = False


D = Description

HEALTHCHECK = {
    "test": D("What is run in the container: exit code 0 is well.", "test: [CMD, true]", COMMAND),
    "http": D(
        "A GET request from inside the container's network; any answer from 200 to 399 is well. Needs no "
        "tool in the image. Setpoint's own.",
        'http: ":8080/healthz"',
        TEXT,
    ),
    "tcp": D("A port that must accept a connection. Setpoint's own.", 'tcp: ":5432"', TEXT),
    "interval": D("Time between two checks (30s).", "interval: 10s", DURATION),
    "timeout": D("How long one check may take (30s).", "timeout: 5s", DURATION),
    "retries": D("Failures in a row after which the container is unhealthy (3).", "retries: 5", INTEGER),
    "start_period": D(
        "Time after the start in which failures do not count (0s).", "start_period: 40s", DURATION
    ),
    "start_interval": D("Time between two checks within start_period (5s).", "start_interval: 1s", DURATION),
    "disable": D("Turns the image's own check off.", "disable: true", BOOLEAN),
}
DEPENDENCY = {
    "condition": D(
        "What to wait for before this one starts.",
        "condition: service_healthy",
        one_of("service_started", "service_healthy", "service_completed_successfully"),
    ),
    "restart": D("Restart this one when the other was restarted.", "restart: true", BOOLEAN),
    "required": D("false: start even if the other does not exist.", "required: false", BOOLEAN),
}
ATTACHMENT = {
    "aliases": D("More names by which others on the network find it.", "aliases: [db]", LIST),
    "ipv4_address": D("A static address; the network needs a subnet.", "ipv4_address: 10.9.0.5", TEXT),
    "ipv6_address": D("A static IPv6 address.", 'ipv6_address: "fd00::5"', TEXT),
    "mac_address": D("The link's address.", 'mac_address: "02:42:ac:11:00:03"', TEXT),
    "priority": D("The network with the highest one gives the default route.", "priority: 10", INTEGER),
}
PORT = {
    "target": D("The port in the container.", "target: 80", INTEGER),
    "published": D("The port, or range of ports, on the host.", 'published: "8080"', INTEGER),
    "protocol": D("tcp (default), udp or sctp.", "protocol: udp", one_of("tcp", "udp", "sctp")),
    "host_ip": D("The host's address to publish on; all without it.", "host_ip: 127.0.0.1", TEXT),
    "mode": D("host or ingress, which are the same on one host.", "mode: host", one_of("host", "ingress")),
    "name": D("A name for people.", "name: web", TEXT),
}
MOUNT = {
    "type": D("What is mounted.", "type: bind", one_of("bind", "volume", "tmpfs")),
    "source": D("A path on the host, or a volume's name.", "source: ./conf", TEXT),
    "target": D("The path in the container.", "target: /etc/app", TEXT),
    "read_only": D("Nothing in the container can write there.", "read_only: true", BOOLEAN),
    "consistency": D("Has no effect here.", "consistency: cached", TEXT),
    "bind": D("Options of a bind mount.", "bind: {propagation: rslave}", {"type": "object"}),
    "volume": D("Options of a volume.", "volume: {nocopy: true}", {"type": "object"}),
    "tmpfs": D("Options of a tmpfs.", "tmpfs: {size: 64m}", {"type": "object"}),
}
LOGGING = {
    "driver": D(
        "json-file or local, which are the same here, or none, which keeps nothing.",
        "driver: local",
        one_of("json-file", "local", "none"),
    ),
    "options": D(
        "max-size of a log file (10m) and max-file, how many are kept (3). labels and env, names of them, "
        "and tag are what `docker logs --details` shows. compress and mode: blocking may be said, too.",
        "options: {max-size: 5m, max-file: 2}",
        {"type": "object"},
    ),
}
BLKIO = {
    "weight": D("Its share of a busy disk, from 10 to 1000.", "weight: 500", INTEGER),
    "weight_device": D(
        "The same for one disk.",
        "weight_device: [{path: /dev/sda, weight: 500}]",
        {"type": "array", "items": {"type": "object"}},
    ),
    "device_read_bps": D(
        "Bytes a second that it may read from a disk.",
        "device_read_bps: [{path: /dev/sda, rate: 10mb}]",
        {"type": "array", "items": {"type": "object"}},
    ),
    "device_write_bps": D(
        "Bytes a second that it may write to a disk.",
        "device_write_bps: [{path: /dev/sda, rate: 10mb}]",
        {"type": "array", "items": {"type": "object"}},
    ),
    "device_read_iops": D(
        "Reads a second from a disk.",
        "device_read_iops: [{path: /dev/sda, rate: 1000}]",
        {"type": "array", "items": {"type": "object"}},
    ),
    "device_write_iops": D(
        "Writes a second to a disk.",
        "device_write_iops: [{path: /dev/sda, rate: 1000}]",
        {"type": "array", "items": {"type": "object"}},
    ),
}
DEPLOY = {
    "mode": D("replicated is the one there is.", "mode: replicated", one_of("replicated")),
    "replicas": D("How many containers run.", "replicas: 3", INTEGER),
    "resources": D("limits and reservations.", "resources: {limits: {memory: 64m}}", {"type": "object"}),
    "restart_policy": D("As restart.", "restart_policy: {condition: any}", {"type": "object"}),
}
RESTART = {
    "policy": D(
        "As the short form.", "policy: always", one_of("no", "always", "on-failure", "unless-stopped")
    ),
    "max_attempts": D(
        "Failures within the window after which it is Stalled (10).", "max_attempts: 3", INTEGER
    ),
    "window": D("The time in which they count (10m). Setpoint's own.", "window: 5m", DURATION),
}

UPDATE = {
    "policy": D(
        "digest: what its tag means now; patch, minor, major: newer versions within that.",
        "policy: minor",
        one_of("digest", "patch", "minor", "major"),
    ),
    "window": D(
        "When an update may be taken, in the host's time: one window, or several. Without it: any time.",
        'window: "02:00-04:00 Sun"',
        ONE_OR_LIST,
    ),
    "minimum_age": D("How long this agent must have known of it (72h).", "minimum_age: 168h", DURATION),
    "prereleases": D("Whether those that are not released count, too (false).", "prereleases: true", BOOLEAN),
}

SECRET = {
    "environment": D("The variable that has it, of setpoint agent --env-file.", "environment: TOKEN", TEXT),
    "external": D("false is the one there is.", "external: false", BOOLEAN),
    "file": D("The file of this host that holds it; read when a build begins.", "file: ./token", TEXT),
    "labels": D("Nothing looks at them.", "labels: {team: shop}", PAIRS),
    "name": D("Nothing looks at it.", "name: token", TEXT),
}
BUILD_SECRET = {
    "environment": D("The variable that has it, of setpoint agent --env-file.", "environment: TOKEN", TEXT),
    "file": D("The file of this host that holds it; read when a build begins.", "file: ./token", TEXT),
    "source": D("Its name among the file's secrets.", "source: token", TEXT),
    "target": D("The id that the Dockerfile names; that of source without it.", "target: npm", TEXT),
}
BUILD = {
    "additional_contexts": D(
        "What the Dockerfile may name beside its stages: directories of the source, and images.",
        "additional_contexts: {shared: ./shared, base: docker-image://nginx:1.27}",
        PAIRS,
    ),
    "args": D("For ARG of the Dockerfile.", "args: {VERSION: 1.2}", PAIRS),
    "cache_from": D("Images that carry a cache of builds.", "cache_from: [ghcr.io/org/cache:1]", LIST),
    "cache_to": D(
        "An image that the cache is pushed as, for others: NAME, or type=registry,ref=NAME.",
        "cache_to: [ghcr.io/org/cache:1]",
        LIST,
    ),
    "context": D("The directory that it takes files from: what is committed in it.", "context: ./web", TEXT),
    "dockerfile": D("The Dockerfile, in the context.", "dockerfile: docker/Dockerfile", TEXT),
    "dockerfile_inline": D("What the Dockerfile says.", "dockerfile_inline: FROM nginx:1.27", TEXT),
    "entitlements": D("Rights for steps: there are none to be had.", "entitlements: []", LIST),
    "extra_hosts": D(
        "Names with an address, for RUN steps; host-gateway is the host.",
        'extra_hosts: ["db=10.0.0.5"]',
        PAIRS,
    ),
    "isolation": D("default is the one there is.", "isolation: default", one_of("default")),
    "labels": D("Labels of the image.", "labels: {team: shop}", PAIRS),
    "network": D("Of RUN steps: default, none or host.", "network: none", one_of("default", "none", "host")),
    "no_cache": D("Run every step of a build (false).", "no_cache: true", BOOLEAN),
    "platforms": D("What it is for: one platform, this machine's.", "platforms: [linux/amd64]", LIST),
    "privileged": D("false is the one there is.", "privileged: false", BOOLEAN),
    "provenance": D("false is the one there is.", "provenance: false", BOOLEAN),
    "pull": D("Ask the registry for base images that are here (false).", "pull: true", BOOLEAN),
    "sbom": D("false is the one there is.", "sbom: false", BOOLEAN),
    "secrets": D(
        "For RUN --mount=type=secret: names of the file's secrets, or each with where it is. They are in no "
        "layer, log or cache, and another one builds nothing anew.",
        "secrets: [{source: token, file: ./token}]",
        {"type": "array", "items": {"oneOf": [TEXT, {"type": "object"}]}},
        BUILD_SECRET,
        many=True,
    ),
    "shm_size": D("The size of /dev/shm of RUN steps (64m).", "shm_size: 1g", SIZE),
    "ssh": D(
        "ssh agents for RUN --mount=type=ssh: an id alone is the one that the agent was started with "
        "(SSH_AUTH_SOCK), or id=SOCKET.",
        "ssh: [default]",
        {"oneOf": [TEXT, PAIRS]},
    ),
    "tags": D("Further names for the image.", "tags: [shop/web:1]", LIST),
    "target": D("Build up to this stage.", "target: runtime", TEXT),
    "ulimits": D("Resource limits of RUN steps.", "ulimits: {nofile: 1024}", {"type": "object"}),
}

CONTAINER = {
    "annotations": D("Notes for programs; they change nothing.", "annotations: {team: shop}", PAIRS),
    "blkio_config": D(
        "Limits of block I/O, by whole disks of the host. Applied without a restart.",
        "blkio_config: {device_write_bps: [{path: /dev/sda, rate: 10mb}]}",
        {"type": "object"},
        BLKIO,
    ),
    "build": D(
        "Build its image of a directory of the source. Another content is another image, and rolls out.",
        "build: ./web",
        {"oneOf": [TEXT, {"type": "object"}]},
        BUILD,
    ),
    "cap_add": D("Capabilities beyond the default set.", "cap_add: [NET_ADMIN]", LIST),
    "cap_drop": D("Capabilities of the default set that it does not get.", "cap_drop: [ALL]", LIST),
    "cgroup": D(
        "host: it sees the host's tree of control groups. private, the default: its own.",
        "cgroup: private",
        one_of("host", "private"),
    ),
    "command": D("Arguments in place of the image's. [] clears them.", 'command: ["sleep", "60"]', COMMAND),
    "container_name": D(
        "The name, in place of project-service-1. Only one container can have it, so it cannot be scaled.",
        "container_name: web",
        TEXT,
    ),
    "cpu_period": D(
        "What cpu_quota is of, and cpus a share of, in microseconds (100000). Applied without a restart.",
        "cpu_period: 50000",
        INTEGER,
    ),
    "cpu_quota": D("The same as cpus, in microseconds a period.", "cpu_quota: 150000", INTEGER),
    "cpu_rt_period": D(
        "What cpu_rt_runtime is of, in microseconds or as a duration. Needs cgroup v1.",
        "cpu_rt_period: 1s",
        DURATION,
    ),
    "cpu_rt_runtime": D(
        "Time in a period that its real-time processes may run. Needs cgroup v1.",
        "cpu_rt_runtime: 400ms",
        DURATION,
    ),
    "cpu_shares": D(
        "Weight against other containers when the processor is short (1024).", "cpu_shares: 512", INTEGER
    ),
    "cpus": D("Processors that it may use at most. Applied without a restart.", "cpus: 1.5", NUMBER),
    "cpuset": D("Processors that it may run on. Applied without a restart.", 'cpuset: "0-1"', TEXT),
    "cpuset_mems": D(
        "Memory nodes that it may use. Setpoint's own. Applied without a restart.", 'cpuset_mems: "0"', TEXT
    ),
    "depends_on": D(
        "Services that must be started (or healthy, or finished) before this one starts.",
        "depends_on: {db: {condition: service_healthy}}",
        {"oneOf": [LIST, {"type": "object"}]},
        DEPENDENCY,
        many=True,
    ),
    "deploy": D(
        "compose's section for replicas and limits.", "deploy: {replicas: 2}", {"type": "object"}, DEPLOY
    ),
    "device_cgroup_rules": D(
        "Devices by number that it may use once they are made in it: TYPE MAJOR:MINOR ACCESS.",
        'device_cgroup_rules: ["c 188:* rw"]',
        LIST,
    ),
    "devices": D(
        "Devices of the host: SOURCE[:TARGET[:rwm]].",
        'devices: ["/dev/fuse"]',
        {"type": "array", "items": {"oneOf": [TEXT, {"type": "object"}]}},
    ),
    "dns": D("Name servers, in place of the host's.", "dns: [9.9.9.9]", ONE_OR_LIST),
    "dns_opt": D("Options of the resolver.", "dns_opt: [use-vc]", LIST),
    "dns_search": D("Domains in which short names are looked for.", "dns_search: example.org", ONE_OR_LIST),
    "domainname": D("The domain's name.", "domainname: example.org", TEXT),
    "ensure": D(
        "What is to be so: running, stopped (kept, not running) or absent. Setpoint's own.",
        "ensure: stopped",
        one_of("running", "stopped", "absent"),
    ),
    "entrypoint": D(
        "The program in place of the image's. [] clears it.", 'entrypoint: ["/bin/app"]', COMMAND
    ),
    "env_file": D(
        "Files of variables beside the manifest, named .env, *.env or .env.*; their content counts, so a "
        "change of it makes a new container.",
        "env_file: {path: web.env, required: false}",
        {"oneOf": [TEXT, {"type": "object"}, {"type": "array"}]},
    ),
    "environment": D(
        "Variables for the process. A name alone takes its value from .env; where there is none, the image's "
        "is taken away.",
        "environment: {A: b}",
        PAIRS,
    ),
    "expose": D("Ports that are there for others on the network; opens nothing.", "expose: [3000]", LIST),
    "external_links": D(
        "What a container on the same network is called in this one: NAME[:ALIAS].",
        "external_links: [other-db-1:db]",
        LIST,
    ),
    "extra_hosts": D(
        "Names with an address, for the hosts file; host-gateway is the host.",
        'extra_hosts: ["db=10.0.0.5"]',
        {"oneOf": [LIST, {"type": "object"}]},
    ),
    "group_add": D("More groups of the process, by name or number.", "group_add: [audio]", ONE_OR_LIST),
    "healthcheck": D(
        "How to ask whether it is well. One of test, http and tcp.",
        'healthcheck: {http: ":8080/", interval: 10s}',
        {"type": "object"},
        HEALTHCHECK,
    ),
    "hidden_paths": D(
        "Paths that are hidden in it, in place of the usual ones below /proc and /sys. Setpoint's own.",
        "hidden_paths: [/proc/kcore, /proc/keys]",
        LIST,
    ),
    "hostname": D("The host's name inside.", "hostname: web", TEXT),
    "image": D(
        "The image: name:tag, name@digest or an id.", "image: nginx:1.27", {"type": "string", "minLength": 1}
    ),
    "init": D("A small init reaps orphans and passes signals on.", "init: true", BOOLEAN),
    "ipc": D("The IPC namespace: host, none, service:NAME, container:NAME.", "ipc: host", TEXT),
    "labels": D("Labels of the container. setpoint.* is reserved.", "labels: {tier: front}", PAIRS),
    "links": D(
        "What another service is called in this one, and only there: SERVICE[:ALIAS]. It starts first.",
        "links: [db:database]",
        LIST,
    ),
    "logging": D(
        "How much of the output is kept.", "logging: {options: {max-size: 5m}}", {"type": "object"}, LOGGING
    ),
    "mem_limit": D("Memory that it may use at most. Applied without a restart.", "mem_limit: 64m", SIZE),
    "mem_reservation": D("Memory that it keeps when memory is short.", "mem_reservation: 32m", SIZE),
    "mem_swappiness": D(
        "How readily its memory is swapped out, from 0 to 100. Needs cgroup v1.",
        "mem_swappiness: 10",
        INTEGER,
    ),
    "memswap_limit": D(
        "Memory and swap together; -1 is unlimited swap. Goes with mem_limit.",
        "memswap_limit: -1",
        SIZE,
    ),
    "network_mode": D(
        "In place of networks: none, host, bridge, service:NAME or container:NAME (share its network).",
        "network_mode: none",
        TEXT,
    ),
    "networks": D(
        "Networks of the project that it is on. Without it: the project's default network.",
        "networks: {default: {aliases: [www]}}",
        {"oneOf": [LIST, {"type": "object"}]},
        ATTACHMENT,
        many=True,
    ),
    "on_unhealthy": D(
        "restart: what to do when the health check fails. Setpoint's own.",
        "on_unhealthy: restart",
        one_of("ignore", "restart"),
    ),
    "oom_kill_disable": D(
        "Do not kill its processes when it is out of memory.", "oom_kill_disable: true", BOOLEAN
    ),
    "oom_score_adj": D("From -1000 (killed last) to 1000 (killed first).", "oom_score_adj: 500", INTEGER),
    "pid": D("The process namespace: host, service:NAME, container:NAME.", "pid: host", TEXT),
    "pids_limit": D(
        "Processes at most (2048); -1 is unlimited. Applied without a restart.", "pids_limit: 100", INTEGER
    ),
    "ports": D(
        "Ports published on the host: [HOST_IP:][HOST:]CONTAINER[/PROTOCOL], ranges too.",
        'ports: ["127.0.0.1:8080:80"]',
        {"type": "array", "items": {"oneOf": [TEXT, {"type": "object"}]}},
        PORT,
        many=True,
    ),
    "platform": D("What the image is to be made for, when not for this host.", "platform: linux/386", TEXT),
    "privileged": D(
        "All capabilities and devices, and no filter. Almost never needed.", "privileged: true", BOOLEAN
    ),
    "profiles": D("It is wanted only when one of these profiles is active.", "profiles: []", LIST),
    "pull_policy": D(
        "When the image is fetched: missing (when it is not here), never; always and if_newer ask its "
        "registry at each new version of the service, daily, weekly and every_12h when so long has passed. "
        "What is here is used when the registry does not answer.",
        "pull_policy: if_newer",
        TEXT,
    ),
    "read_only": D("The root file system cannot be written to.", "read_only: true", BOOLEAN),
    "readonly_paths": D(
        "Paths that cannot be written to in it, in place of the usual ones below /proc. Setpoint's own.",
        "readonly_paths: [/proc/sys, /proc/sysrq-trigger]",
        LIST,
    ),
    "replicas": D(
        "How many containers run. The same as scale. Setpoint's own place for it.", "replicas: 2", INTEGER
    ),
    "restart": D(
        "When it ends: no, always, unless-stopped, on-failure or on-failure:N. After too many failures in a "
        "window it is Stalled, with the reason.",
        "restart: on-failure:5",
        {"oneOf": [TEXT, {"type": "object"}]},
        RESTART,
    ),
    "scale": D("How many containers run (1).", "scale: 2", INTEGER),
    "security_opt": D(
        "no-new-privileges:true, seccomp=unconfined or =FILE, apparmor=PROFILE, systempaths=unconfined.",
        "security_opt: [no-new-privileges:true]",
        LIST,
    ),
    "shm_size": D("The size of /dev/shm (64m).", "shm_size: 128m", SIZE),
    "stdin_open": D("Keep the standard input open.", "stdin_open: true", BOOLEAN),
    "stop_grace_period": D(
        "Time from the stop signal to the kill (10s).", "stop_grace_period: 30s", DURATION
    ),
    "stop_signal": D(
        "The signal that asks it to end (the image's, else SIGTERM).", "stop_signal: SIGINT", TEXT
    ),
    "suspend": D("Leave it as it is, whatever changes. Setpoint's own.", "suspend: true", BOOLEAN),
    "sysctls": D("Kernel settings of its namespaces.", "sysctls: {net.core.somaxconn: 1024}", PAIRS),
    "tmpfs": D("Memory file systems: PATH[:size=64m,mode=1777].", "tmpfs: [/run]", ONE_OR_LIST),
    "tty": D("Give it a terminal.", "tty: true", BOOLEAN),
    "ulimits": D(
        "Limits of its processes: one number, or soft and hard.",
        "ulimits: {nofile: {soft: 1024, hard: 4096}}",
        {"type": "object", "additionalProperties": {"oneOf": [INTEGER, {"type": "object"}]}},
    ),
    "update": D(
        "Which newer images are looked for; `setpoint image update` shows them, and writes them to git when "
        "asked. Setpoint's own.",
        "update: {policy: minor}",
        {"oneOf": [TEXT, {"type": "object"}]},
        UPDATE,
    ),
    "user": D("User and group of the process, by name or number.", 'user: "1000:1000"', TEXT),
    "userns_mode": D(
        "auto: ids of its own, so that root inside is nobody on the host. host: the host's, the default.",
        "userns_mode: auto",
        one_of("auto", "host"),
    ),
    "uts": D("host: share the host's name.", "uts: host", one_of("host")),
    "volumes": D(
        "What is mounted: SOURCE:TARGET[:ro]. A source with a / or . is a path on the host, relative to the "
        "manifest; any other is a volume.",
        'volumes: ["./conf:/etc/app:ro"]',
        {"type": "array", "items": {"oneOf": [TEXT, {"type": "object"}]}},
        MOUNT,
        many=True,
    ),
    "working_dir": D("The directory that the process starts in.", "working_dir: /srv", TEXT),
    "x-setpoint-update": D(
        "The same as update, by a name that compose leaves alone. Setpoint's own.",
        "x-setpoint-update: {policy: minor}",
        {"oneOf": [TEXT, {"type": "object"}]},
        UPDATE,
    ),
}
LABELS = D("Labels. setpoint.* is reserved.", "labels: {tier: back}", PAIRS)
SUSPEND = D("Leave it as it is, whatever changes. Setpoint's own.", "suspend: true", BOOLEAN)
ENSURE = D("present or absent. Setpoint's own.", "ensure: absent", one_of("present", "absent"))
EXTERNAL = D(
    "It is made elsewhere; only its name counts.",
    "external: true",
    {"oneOf": [BOOLEAN, {"type": "object"}]},
)
REAL_NAME = D("The real name, in place of project_name.", "name: shared", TEXT)
NETWORK = {
    "attachable": D("Every network here is.", "attachable: true", BOOLEAN),
    "driver": D("bridge is the one there is.", "driver: bridge", TEXT),
    "driver_opts": D(
        "com.docker.network.driver.mtu, com.docker.network.bridge.enable_icc, .enable_ip_masquerade (false: "
        "containers are seen outside by their own addresses) and .name (the link on the host). Others where "
        "they say what is so anyway.",
        "driver_opts: {com.docker.network.driver.mtu: 1400}",
        {"type": "object"},
    ),
    "enable_ipv4": D("true is the one there is.", "enable_ipv4: true", BOOLEAN),
    "enable_ipv6": D(
        "IPv6 beside IPv4: of the subnet that ipam names, or of one of this host's own range (fdXX:…/64).",
        "enable_ipv6: true",
        BOOLEAN,
    ),
    "ensure": ENSURE,
    "external": EXTERNAL,
    "gateway": D(
        "The host's address on it. Setpoint's own place for it.",
        "{subnet: 10.9.0.0/24, gateway: 10.9.0.1}",
        TEXT,
    ),
    "internal": D("No way out of it.", "internal: true", BOOLEAN),
    "ipam": D(
        "compose's place for a subnet and gateway, for the part of it that containers get addresses of "
        "(ip_range), and for those that none gets (aux_addresses). One entry of IPv4, and with enable_ipv6 "
        "one of IPv6.",
        "ipam: {config: [{subnet: 10.9.0.0/24, ip_range: 10.9.0.128/25, aux_addresses: {router: 10.9.0.9}}]}",
        {"type": "object"},
    ),
    "isolated": D("Containers on it do not reach each other. Setpoint's own.", "isolated: true", BOOLEAN),
    "labels": LABELS,
    "mtu": D("The largest packet. Setpoint's own place for it.", "mtu: 1400", INTEGER),
    "name": REAL_NAME,
    "subnet": D(
        "Its addresses; without it a free subnet is found. Setpoint's own place for it.",
        "subnet: 10.9.0.0/24",
        TEXT,
    ),
    "suspend": SUSPEND,
}
VOLUME = {
    "driver": D("local is the one there is.", "driver: local", TEXT),
    "driver_opts": D(
        "What is mounted as the volume while a container uses it: type (none, tmpfs, ext4, ...), o (words of "
        "mount(8), and bind) and device.",
        "driver_opts: {type: none, o: bind, device: /srv/data}",
        {"type": "object"},
    ),
    "ensure": ENSURE,
    "external": EXTERNAL,
    "keep": D(
        "false: removed, with what is in it, when its manifest is. true (default): kept. Setpoint's own.",
        "keep: false",
        BOOLEAN,
    ),
    "labels": LABELS,
    "name": REAL_NAME,
    "suspend": SUSPEND,
}
IMAGE = {
    "ensure": ENSURE,
    "image": D("Its name, with a tag or a digest.", "image: nginx:1.27", TEXT),
    "labels": LABELS,
    "pull_policy": D("missing (default) or never.", "pull_policy: never", one_of("missing", "never")),
    "suspend": SUSPEND,
    "update": CONTAINER["update"],
}
LIMITS = {
    "privileged": D("Containers without any fence (false).", "privileged: true", BOOLEAN),
    "namespaces": D("The host's own that may be used.", "namespaces: [network]", LIST),
    "capabilities": D("Beyond the default set.", "capabilities: [NET_ADMIN]", LIST),
    "devices": D("Devices of the host, and what lies below.", "devices: [/dev/dri]", LIST),
    "binds": D("Paths of the host, and what lies below.", 'binds: [/srv/ci, "/etc/localtime:ro"]', LIST),
    "unconfined": D("Which fences may be left out.", "unconfined: [seccomp]", LIST),
    "ports": D("Ports of the host; any without it.", "ports: [8000-8999/tcp]", LIST),
    "sysctls": D("Kernel settings; any without it.", "sysctls: [net.core.somaxconn]", LIST),
    "images": D(
        "Images to use, pull, change and remove, with this host's logins. Without it any that is here, and "
        "those that anybody may pull; but no change of those that manifests run.",
        "images: [docker.io/library/*]",
        LIST,
    ),
    "external": D("Networks and volumes of others; none without it.", "external: [proxy]", LIST),
}
SHARE = {
    "memory": D("Bytes. Swap is as much again at most.", "memory: 4g", SIZE),
    "cpus": D("Processors.", "cpus: 2", NUMBER),
    "pids": D("Processes and threads.", "pids: 1000", INTEGER),
}
QUOTA = {
    **SHARE,
    "containers": D("Containers, and builds that run.", "containers: 10", INTEGER),
    "networks": D("Networks.", "networks: 2", INTEGER),
    "volumes": D("Volumes, with those that containers make for themselves.", "volumes: 10", INTEGER),
    "execs": D("Further processes in containers that have not ended.", "execs: 20", INTEGER),
    "each": D(
        "What one container or build may have, and has if it says nothing.",
        "each: {memory: 1g, cpus: 1, pids: 200}",
        {"type": "object"},
        SHARE,
    ),
}
SOCKET = {
    "allow": D(
        "What may be done there: read, write (all), a noun (containers, images, networks, volumes, system) "
        "or NOUN:VERB. containers: read, create, start, stop, change, remove, attach, exec, copy, commit; "
        "images: read, pull, build, push, change, save, remove; networks: read, create, connect, remove; "
        "volumes: read, create, change, remove; system: read, events.",
        'allow: [read, "containers:create", "containers:start", "images:pull"]',
        LIST,
    ),
    "ensure": ENSURE,
    "label": D(
        "NAME=VALUE. What is seen and touched there bears it, and what is made there gets it. Without it: "
        "one of its own, so that a client sees only what was made there.",
        "label: team=ci",
        TEXT,
    ),
    "labels": LABELS,
    "limits": D(
        "What containers may ask for, as `allow` of a policy. Without it nothing that reaches the host.",
        "limits: {binds: [/srv/ci], ports: [8000-8999]}",
        {"type": "object"},
        LIMITS,
    ),
    "mode": D('The file\'s mode ("0660"); never for everybody.', 'mode: "0600"', TEXT),
    "owner": D("Whose it is: USER or USER:GROUP, by name or number (root).", "owner: root:ci", TEXT),
    "path": D(
        "Where it is, in a directory of root's. Without it: /run/INSTANCE/sockets/PROJECT.NAME.sock.",
        "path: /run/ci/docker.sock",
        TEXT,
    ),
    "quota": D(
        "How much there may be at a time of what was made there, running or not. Any without it.",
        "quota: {containers: 10, volumes: 5, memory: 4g, cpus: 2, each: {memory: 1g}}",
        {"type": "object"},
        QUOTA,
    ),
    "suspend": SUSPEND,
    "time_to_live": D(
        "What is made there goes after this time: killed, with its volumes. Without it: never.",
        "time_to_live: 2h",
        DURATION,
    ),
}
METADATA = {
    "name": D("The object's name in its project.", "name: web", TEXT),
    "project": D("The project; the directory's name without it.", "project: shop", TEXT),
    "labels": D("Labels of the object; the spec's own go before them.", "labels: {tier: front}", PAIRS),
}
KINDS = {
    "container": D(
        "One service: a container, or several of a kind. A compose service, word for word.", fields=CONTAINER
    ),
    "network": D("A bridge that containers are on and find each other by name.", fields=NETWORK),
    "image": D("An image that is kept here, whether or not a container uses it.", fields=IMAGE),
    "socket": D("A socket of the Docker API at which little is allowed, for a job or a user.", fields=SOCKET),
    "volume": D("A directory that outlives its containers.", fields=VOLUME),
    "metadata": D("Name and project of an object in the envelope form.", fields=METADATA),
}
