"""Mutations of what keeps images: the collection, the lock, updates, the slow check."""

from __future__ import annotations

from tests.threats.mutation import Mutation

COLLECTION, ENGINE = "runtime/images/collection.py", "runtime/engine.py"
KEEPER, POLICY = "agent/images/keeper.py", "agent/updates/policy.py"
GIT, LOCK = "agent/source/git_commit.py", "agent/manifest/reading.py"
U = "tests/unit"

KEEPING = (
    Mutation(
        "R6", "runtime/images/loader.py", "            drop_other_forms(Content(root), digests, index)\n", "            pass\n",
        "tests/kernel/images/test_load.py::test_another_form_of_an_image_takes_the_place_of_the_old",
    ),
    Mutation(
        "R6", "runtime/images/needs.py", "    for digest in garbage.blobs:\n", "    for digest in forms:\n",
        "tests/kernel/images/test_load.py::test_what_another_image_has_of_a_form_stays",
    ),
    Mutation(
        "R6", COLLECTION, "        kept = roots.get(holding.id) or _kept(", "        kept = _kept(",
        f"{U}/images/test_collection.py",
    ),
    Mutation(
        "R6", COLLECTION, "        users[part] -= 1\n        if not users[part]:\n", "        if True:\n",
        f"{U}/images/test_collection.py",
    ),
    Mutation(
        "R6", ENGINE, "            await asyncio.to_thread(self.images.restore, back)\n", "            pass\n",
        "tests/kernel/images/test_collect.py",
    ),
    Mutation(
        "R6", ENGINE, "        in_use = self.images_in_use()\n        if back", "        if back",
        "tests/kernel/images/test_collect.py",
    ),
    Mutation(
        "R6", "runtime/images/images.py", "_names_of(index, record.image_id) == judged[record.image_id]", "True",
        "tests/kernel/images/test_collect.py",
    ),
    Mutation(
        "R6", KEEPER, "            if known.used_at > now:\n", "            if False:\n",
        f"{U}/agent_images/test_keeper.py",
    ),
    Mutation(
        "R6", "agent/images/roots.py", "        return tuple(present[:KEPT_GOOD])\n", "        return tuple(present[:1])\n",
        f"{U}/agent_images/test_roots.py",
    ),
    Mutation(
        "R6", "runtime/disk_use.py", "O_DIRECTORY | os.O_NOFOLLOW |", "O_DIRECTORY |",
        f"{U}/runtime/test_disk_use.py",
    ),
    Mutation(
        "R6", "runtime/disk_use.py", "        if depth > MAX_DEPTH or", "        if",
        f"{U}/runtime/test_disk_use.py",
    ),
    Mutation(
        "B9", "runtime/images/worker.py", "        become_idle()\n", "        pass\n",
        "tests/threats/test_b09_damaged_layers.py::test_b9_a_slow_check_runs_when_nobody_else_does",
    ),
    Mutation(
        "B9", "agent/images/verifier.py", 'damage=damage.get(id, "")', 'damage=""',
        f"{U}/agent_images/test_verifier.py",
    ),
    Mutation(
        "C4", LOCK, "        self.errors.update(dict.fromkeys(lock.errors[:MAX_ERRORS]))\n", "",
        f"{U}/manifest/test_image_lock.py",
    ),
    Mutation(
        "C4", LOCK, 'return f"{reference.familiar}@{digest}" if digest else image', "return image",
        f"{U}/manifest/test_image_lock.py",
    ),
    Mutation(
        "C4", "agent/reconcile/container_actions.py",
        "            return hashing.without_digest(self.spec.image) == self.spec.image\n", "            return True\n",
        "tests/plans/test_plans.py",
    ),
    Mutation(
        "C4", "agent/manifest/hashing.py", '        counting["image"] = without_digest(spec.image)\n', "        pass\n",
        f"{U}/manifest/test_hashing.py",
    ),
    Mutation(
        "C4", POLICY, "        since = seen_at.get((found, digest), now)\n",
        "        since = seen_at.get((found, digest), 0.0)\n", f"{U}/updates/test_policy.py",
    ),
    Mutation(
        "H1", GIT, "    if ref in git.checked_out():\n", "    if False:\n",
        f"{U}/source/test_git_commit.py",
    ),
    Mutation(
        "H1", GIT, "    check_ref(branch)\n", "", f"{U}/source/test_git_commit.py",
    ),
    Mutation(
        "H1", GIT, 'M 100644 inline %b\\ndata %d\\n%b\\n" % (_quoted(path),',
        'M 100644 inline %b\\ndata %d\\n%b\\n" % (path.encode(),', f"{U}/source/test_git_commit.py",
    ),
    Mutation(
        "H1", GIT, "    if not OBJECT_ID.fullmatch(base) or", "    if", f"{U}/source/test_git_commit.py",
    ),
    Mutation(
        "H1", GIT, "    if tip and not git.is_before(tip, base):\n", "    if False:\n",
        f"{U}/source/test_git_commit.py",
    ),
)  # fmt: skip
