"""The defences around processes that read what strangers made, each taken away. See `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

T = "tests/threats"
B5, H1 = f"{T}/test_b05_workers.py", f"{T}/test_h01_git_sandbox.py"
BOUNDS, GROUPS = "runtime/worker_bounds.py", "runtime/side_groups.py"

WORKERS = (
    Mutation(
        "B5", BOUNDS, '            Path(file).write_text("0")\n', "            pass\n",
        f"{B5}::test_b5_images_are_read_in_groups_of_their_own",
    ),
    Mutation(
        "B5", "runtime/copies/worker.py", "    worker_bounds.enter()\n", "",
        f"{B5}::test_b5_copies_are_made_in_groups_of_their_own",
    ),
    Mutation(
        "B5", GROUPS, '        "memory": {"limit": memory_bytes, "swap": memory_bytes},\n', "",
        f"{B5}::test_b5_workers_have_so_much_memory",
    ),
    Mutation(
        "B5", GROUPS, '        "pids": {"limit": processes},\n', "",
        f"{B5}::test_b5_workers_are_so_many_processes",
    ),
    Mutation(
        "B5", GROUPS, "*(weight_writes(found) if is_behind else ())", "",
        f"{B5}::test_b5_images_are_read_in_groups_of_their_own",
    ),
    Mutation(
        "B5", BOUNDS, "(end if most == resource.RLIM_INFINITY else min(end, most), most))\n", "(most, most))\n",
        f"{B5}::test_b5_a_layer_has_so_much_time[processor-load]",
    ),
    Mutation(
        "B5", BOUNDS, "    _lower(resource.RLIMIT_CPU, end, end + _GRACE_SECONDS)\n", "",
        f"{B5}::test_b5_a_layer_has_so_much_time[processor-import_it]",
    ),
    Mutation(
        "B5", BOUNDS, "    signal.setitimer(signal.ITIMER_REAL, seconds)\n", "",
        f"{B5}::test_b5_a_layer_has_so_much_time[clock-load]",
    ),
    Mutation(
        "B5", "runtime/copies/worker.py", '        worker_bounds.limit_cpu(op, told["name"], lambda error: _fail(error, op))\n', "",
        f"{B5}::test_b5_a_copy_has_so_much_processor_time",
    ),
    Mutation(
        "B5", BOUNDS, "    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # later threads, too\n",
        "    signal.signal(signal.SIGXCPU, lambda *_: None)\n",
        f"{B5}::test_b5_a_build_has_so_much_processor_time",
    ),
    Mutation(
        "B5", "runtime/images/worker.py", "and not self._is_ended:  # what", "and False:  # what",
        f"{B5}::test_b5_a_layer_has_so_much_time[processor-import_it]",
    ),
    Mutation(
        "B5", "runtime/leftovers.py", '            side_groups.remove(f"/{name}")\n', "            pass\n",
        f"{B5}::test_b5_what_an_agent_left_is_ended_by_the_next",
    ),
    Mutation(
        "B5", BOUNDS, "            self.ends_at += now - self.waits_since\n", "",
        "tests/unit/runtime/test_worker_caps.py::test_what_is_waited_for_does_not_count",
    ),
    Mutation(
        "H1", "runtime/cgroups.py", " - {os.getpid()}:\n", ":\n",
        f"{H1}::test_h1_who_ends_a_git_does_not_end_itself",
    ),
    Mutation(
        "H1", GROUPS, "        if count > 1:\n", "        if False:\n",
        f"{H1}::test_h1_one_git_does_not_end_another",
    ),
)  # fmt: skip
