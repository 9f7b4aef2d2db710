"""Mutations of the gate of images: each way round it that a test must notice."""

from __future__ import annotations

from tests.threats.mutation import Mutation

SIGNATURES, IMAGES = "agent/policy/signatures.py", "agent/policy/images.py"
WAYS = "tests/kernel/images/test_gate.py::test_every_other_way_in"
SIGNED, ROUND = "tests/unit/policy/test_signatures.py", "tests/threats/test_h06_images.py"

IMAGE_GATE = (
    Mutation(
        "C1", SIGNATURES, '    if _at(critical, "image", "docker-manifest-digest") not in digests:\n',
        "    if False:\n", SIGNED,
    ),
    Mutation("C1", SIGNATURES, "    except InvalidSignature:\n        return False\n",
             "    except InvalidSignature:\n        return True\n", SIGNED),
    Mutation("C1", SIGNATURES, "not identities and _statement_says", "_statement_says", SIGNED),
    Mutation("C1", SIGNATURES, '    if _at(value, "predicateType") not in PREDICATES or not', "    if not", SIGNED),
    Mutation("C1", SIGNATURES, "key.key_size < LEAST_RSA_BITS", "False", SIGNED),
    Mutation(
        "C1", "runtime/images/pull.py", "        _admit(admission, repository, reference, found)\n", "",
        "tests/kernel/images/test_gate.py::test_each_kind_of_key_under_each_name",
    ),
    Mutation("H6", "runtime/images/loader.py", "            stage.admit(facts)\n", "            pass\n", WAYS),
    Mutation("H6", "runtime/images/images.py", "                self._gate.admit_tag(", "                str(", ROUND),
    Mutation("H6", IMAGES, 'reference.domain.lower())', "reference.domain)", ROUND),
    Mutation("H6", IMAGES, 're.sub(r":0*443$", "", ', "str(", ROUND),
    Mutation("H6", IMAGES, "    if not found:  # which is no reason to allow it\n", "    if False:\n",
             "tests/unit/policy/test_images.py"),
    Mutation("H6", "agent/reconcile/needs.py", "if facts.image_id == image.id]", "]", "tests/plans"),
    Mutation("H6", "runtime/images/build/worker.py", '        self._asks.ask("admit", facts=facts_to_json(facts))\n',
             "        pass\n", "tests/kernel/build/test_build_policy.py"),
    Mutation("C1", "runtime/images/registry/signatures.py", "found[:MAX_REFERRERS]", "found",
             "tests/threats/test_c01_signatures.py::test_c1_many_referrers_are_not_all_read"),
    Mutation("B6", "runtime/images/registry/challenge.py", '_SCHEME = re.compile(rf"[\\s,]*', '_SCHEME = re.compile(rf"\\s*,?\\s*',
             "tests/unit/images/registry/test_challenge.py"),
    Mutation("B6", "runtime/images/documents.py", "{str(size)[:40]!r}", "{size}",
             "tests/threats/test_b06_documents.py"),
    Mutation("B6", "runtime/images/config.py", "    if len(value) > MAX_ITEMS:\n", "    if False:\n",
             "tests/unit/images/test_config_counts.py"),
    Mutation("H6", IMAGES, "now < old_at:", "False:", "tests/unit/policy/test_images.py"),
    Mutation("H6", "agent/policy/gate.py", "        except BadPolicy:\n            return True\n",
             "        except BadPolicy:\n            return False\n", "tests/unit/policy/test_corners.py"),
    Mutation("H6", "agent/reconcile/needs.py", "    refusal = _refused(desired, spec, world, now)\n",
             "    refusal = _Refused()\n", "tests/plans"),
    Mutation("H6", "agent/reconcile/signatures.py", "before.digests != digests_of(known)", "False", "tests/plans"),
    Mutation("H6", "agent/reconcile/needs.py", "    if asked.failed:\n", "    if False:\n", "tests/plans"),
    Mutation("C1", "runtime/images/remote.py", "            repository.digest(digests[-1])\n", "            pass\n",
             "tests/kernel/images/test_signatures_later.py::test_as_who_may_read_there"),
    Mutation("C1", "runtime/images/remote.py", "first_that_has(asked, (origin,), ", "first_that_has(asked, origins, ",
             "tests/kernel/images/test_signatures_later.py::test_a_mirror_that_lacks_them_has_the_registry_behind_it"),
)  # fmt: skip
