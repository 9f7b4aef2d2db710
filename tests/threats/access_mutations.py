"""Mutations of what guards the ways to the API: guards, TLS, bodies, scoped sockets."""

from __future__ import annotations

from tests.threats.mutation import Mutation

GUARDS, WAYS, TLS, LISTEN = (
    "agent/api/guards.py",
    "agent/api/ways.py",
    "agent/api/tls.py",
    "agent/api/listen.py",
)
BODIES, GATE, SCOPED = (
    "agent/api/docker/bodies.py",
    "agent/api/sockets/gate.py",
    "agent/api/sockets/bodies.py",
)
SCOPE, LISTENERS = "agent/api/sockets/scope.py", "agent/api/sockets/listeners.py"
T, S = "tests/threats", "tests/api/test_scoped_sockets.py"
F1, F2, F3 = f"{T}/test_f01_open_tcp.py", f"{T}/test_f02_web_pages.py", f"{T}/test_f03_bodies.py"
F4, F6, F9 = f"{T}/test_f04_privileges.py", f"{T}/test_f06_hostile_http.py", f"{T}/test_f09_names.py"

ACCESS = (
    Mutation("F1", LISTEN, "    if not addresses or is_plain_allowed:\n", "    if True:\n", F1),
    Mutation("F1", TLS, "    context.verify_mode = ssl.CERT_REQUIRED\n", "", F1),
    Mutation("F1", TLS, "        connection.context = self._current\n", "        pass\n", F1),
    Mutation("F1", TLS, "    if stat.S_IMODE(mode) & 0o077:\n", "    if False:\n", F1),
    Mutation("F1", TLS, "    if days <= 0:\n", "    if False:\n", F1),
    Mutation("F1", TLS, "        if seen == self._seen:\n", "        if True:\n", F1),
    Mutation("F1", WAYS, "            if len(self._handshakes) >= MAX_HANDSHAKES:\n",
             "            if len(self._handshakes) >= 50:\n", F1),
    Mutation("F1", "agent/certificates.py", "purpose]), critical=False)", "ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)", F1),
    Mutation("F1", "agent/certificates.py", "    if not _CLIENT_NAME.fullmatch(name):\n", "    if False:\n", F1),
    Mutation("F1", "agent/certificates.py", "flags, 0o600)", "flags, 0o644)", F1),
    Mutation("F2", GUARDS, '"Origin" in headers and not _is_made_up(request, way)', "False", F2),
    Mutation("F2", GUARDS, 'headers.get("Sec-Fetch-Site", "none").lower() != "none":', "False:", F2),
    Mutation("F2", GUARDS, "    if not is_host_allowed(host, way.hosts() if way.hosts else None):\n", "    if False:\n", F2),
    Mutation("F2", GUARDS, "        if kind in _FORMS:\n", "        if False:\n", F2),
    Mutation("F2", GUARDS, '    if not request.raw_path.startswith("/"):\n', "    if False:\n", F2),
    Mutation("F3", GUARDS, '    if headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):\n',
             "    if False:\n", F3),
    Mutation("F3", BODIES, "    if len(found) != len(pairs):\n", "    if False:\n", F3),
    Mutation("F3", BODIES, '        text = body.decode("utf-8")\n', "        text = body.decode(json.detect_encoding(body))\n", F3),
    Mutation("F3", BODIES, "default=0) > MAX_DEPTH:\n", "default=0) > MAX_DEPTH + 1:\n", F3),
    Mutation("F3", BODIES, '        text = body.decode("utf-8")\n        _check_depth(text)\n',
             '        text = body.decode("utf-8")\n', F3),
    Mutation("F4", SCOPE, "labels[self.label] == self.value", "labels[self.label].startswith(self.value[:1])", F4),
    Mutation("F4", SCOPE, "permission == ANYBODY or permission in self.allowed", "True", F4),
    Mutation("F4", SCOPE, "        return {**kept, **self.labels()}\n", "        return {**self.labels(), **kept}\n", F4),
    Mutation("F4", "agent/policy/policy.py", '        if ".." in path.split("/"):  # a', '        if False:  # a', F4),
    Mutation("F4", "agent/policy/judge_socket.py", "    if asked.privileged and not allow.privileged:\n", "    if False:\n", F4),
    Mutation("F4", GATE, "    if not scope.permits(permission):\n", "    if False:\n", S),
    Mutation("F4", GATE, '        names["id"] = container_in(context, scope, names["id"])\n', "        pass\n", S),
    Mutation("F4", GATE, '    filters["label"] = [*filters.get("label", ()), label]\n', "", S),
    Mutation("F4", SCOPED, "        raise Forbidden(violation.message(policy))\n", "        pass\n", S),
    Mutation("F4", SCOPED, "            _check_used(context, scope, kind, name)\n", "            pass\n", S),
    Mutation("F4", SCOPED, "    return _held(policy, spec)\n", "    return spec\n", S),
    Mutation("F4", LISTENERS, "        self._disconnect(listener.site.way)\n", "        pass\n", S),
    Mutation("F4", LISTENERS, "    if not stat.S_ISSOCK(found.st_mode):\n", "    if False:\n", S),
    Mutation("F4", "agent/api/sockets/expiry.py", "            if at <= now:\n", "            if False:\n", S),
    Mutation("F3", BODIES, "        _check_halves(text, data)\n", "", F3),
    Mutation("F4", SCOPED, "    check_here(context, scope, spec.asked.image if spec.asked is not None else spec.image)\n", "", S),
    Mutation("F4", "agent/reconcile/needs.py", "        if _is_made_here(wanted) and is_another_s(state, key, world):\n",
             "        if False:\n", "tests/plans"),
    Mutation("F4", "agent/reconcile/needs.py", "        if state is not None and _is_made_here(world.wanted(key)) and not is_ours(state, key):\n",
             "        if False:\n", "tests/plans"),
    Mutation("F4", SCOPED, "        _check_subnet(scope, body)\n", "        pass\n", S),
    Mutation("F4", SCOPED, "        _check_volume_name(context, scope, name)\n        labels", "        labels", S),
    Mutation("F4", GATE, "    images.check_request(request, scope, path)\n", "", S),
    Mutation("F4", "agent/api/docker/build.py", "check_image=partial(check_base, scope) if scope is not None else None",
             "check_image=None", S),
    Mutation("F4", "agent/api/requests.py", "    if scope_of(request) is not None:\n", "    if False:\n", S),
    Mutation("F4", "agent/api/docker/containers.py", "        if not is_seen(request, state.labels):\n", "        if False:\n", S),
    Mutation("F4", "agent/api/docker/container_lists.py", " if is_seen(request, state.labels)]", "]", S),
    Mutation("F4", "agent/api/docker/container_lists.py", "            if not is_seen(request, other.labels):\n",
             "            if False:\n", S),
    Mutation("F6", "agent/api/docker/body_mounts.py", "    _check_count(config, host)\n", "", F6),
    Mutation("F6", "agent/api/docker/buildkit/http2.py", "if stream is None or not event.data:", "if stream is None:",
             "tests/unit/docker_api/test_build_http2.py"),
    Mutation("F6", GUARDS, "        async with asyncio.timeout(BODY_SECONDS):\n", "        if True:\n", F6),
    Mutation("F6", GUARDS, "        if silent >= SILENCE_SECONDS:\n", "        if False:\n", F6),
    Mutation("F6", GUARDS, '    if headers.get("Transfer-Encoding", "chunked").strip().lower() != "chunked":\n', "    if False:\n", F6),
    Mutation("F6", WAYS, "        while len(self._idle) > MAX_IDLE and self._close_longest_idle(GRACE_SECONDS):\n            pass\n", "", F6),
    Mutation("F6", WAYS, "            keepalive_timeout=KEEPALIVE_SECONDS,\n", "            keepalive_timeout=3600.0,\n", F6),
    Mutation("F6", WAYS, "        if isinstance(self._manager, Door):\n            self._manager.begin(self)\n", "        pass\n", F6),
    Mutation("F6", WAYS, "                if self._scoped[handler.way.name] > MAX_SCOPED:\n", "                if False:\n", F6),
    Mutation("F9", GUARDS, '    if _NO_TEXT.search(request.path) or "." in parts or ".." in parts:\n', "    if False:\n", F9),
)  # fmt: skip
