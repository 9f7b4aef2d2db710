"""Kills an instance's agent and supervisor at random moments under churn, and looks at each checkpoint
whether everything is as it should be. Called by `__main__`, and by the tests for a short run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent import checker
from agent.checker import kernel
from tests.soak.churn import NAMES, Churn, State, steady_compose
from tests.soak.gauges import Measured, compare, kinds_of_descriptors, measure
from tests.soak.instance import Instance

SHORTEST_LIFE_SECONDS, LONGEST_LIFE_SECONDS = 0.0, 1.2  # an agent is up after half a second
COMMIT_SECONDS = 0.6
WARM_UP_KILLS = 5
REST_SECONDS = 5.0  # for counts to come back to their base line


@dataclass(frozen=True, slots=True)
class Plan:
    """kills: of the agent. Every 25th or so kill takes the supervisor as well, every 50th it alone."""

    kills: int = 1000
    checkpoint_kills: int = 100
    seconds: float = 0.0  # when above zero, until then instead of `kills`
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """off: what was not as it should be, in words."""

    agent_kills: int = 0
    supervisor_kills: int = 0
    commits: int = 0
    checkpoints: int = 0
    settle_seconds: list[float] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    gauges: list[Measured] = field(default_factory=list)


class Soak:
    """say: told of progress, one line each."""

    def __init__(self, instance: Instance, plan: Plan, ports: list[int], say: Callable[[str], None]) -> None:
        self.outcome = Outcome()
        self._instance = instance
        self._plan = plan
        self._say = say
        self._random = random.Random(plan.seed)
        self._churn = Churn(plan.seed + 1, dict(zip(NAMES, ports, strict=False)))
        self._steady_port = ports[-1]
        self._is_churning = threading.Event()
        self._may_commit = threading.Lock()
        self._is_over = False
        self._churn_error = ""

    def run(self) -> Outcome:
        churner = threading.Thread(target=self._change_all_the_time)
        base, steady = self._warm_up()
        churner.start()
        try:
            self._kill_all_the_time(base, steady)
        finally:
            self._is_over = True
            churner.join()
        return self.outcome

    # --- before

    def _warm_up(self) -> tuple[dict[str, int], checker.Snapshot]:
        """Everything used once, killed a few times; then the base line is taken, with churn gone."""
        instance = self._instance
        instance.story.commit({"steady/compose.yaml": steady_compose(self._steady_port)})
        instance.wait_for_agent()
        wanted = self._commit(self._churn.all_of_it())
        self._settle(wanted, None, "warm-up")
        before = checker.take(instance.layout)
        for _ in range(WARM_UP_KILLS):
            self._kill(both=True)
        instance.wait_for_agent()
        self._settle(wanted, before, "warm-up")
        self._quiet("warm-up", None)
        steady = checker.take(instance.layout)
        return measure(instance.layout, instance.agent_pid), steady

    # --- the killing

    def _kill_all_the_time(self, base: dict[str, int], steady: checker.Snapshot) -> None:
        deadline = time.monotonic() + self._plan.seconds if self._plan.seconds else 0.0
        count = 0
        while (time.monotonic() < deadline) if deadline else (count < self._plan.kills):
            self._is_churning.set()
            time.sleep(self._random.uniform(SHORTEST_LIFE_SECONDS, LONGEST_LIFE_SECONDS))
            draw = self._random.random()
            if draw < 0.02:
                self.outcome.supervisor_kills += self._instance.kill_supervisor()
                continue
            self._kill(both=draw < 0.06)
            count += 1
            if count % self._plan.checkpoint_kills == 0:
                self._checkpoint(base, steady, count)
        if count % self._plan.checkpoint_kills:
            self._checkpoint(base, steady, count)

    def _kill(self, *, both: bool) -> None:
        order = self._random.random() < 0.5
        if both and order:
            self.outcome.supervisor_kills += self._instance.kill_supervisor()
        if not self._instance.kill_agent():
            self.outcome.off.append("stuck agent: it ended by itself")
        if both and not order:
            self.outcome.supervisor_kills += self._instance.kill_supervisor()
        self.outcome.agent_kills += 1
        self._instance.start_agent()

    # --- looking

    def _checkpoint(self, base: dict[str, int], steady: checker.Snapshot, count: int) -> None:
        instance = self._instance
        self._is_churning.clear()
        with self._may_commit:  # the last commit is whole
            wanted = self._churn.state
        instance.wait_for_agent()
        seconds = self._settle(wanted, steady, f"kill {count}")
        # Once more, with nothing to do: none that runs may be touched.
        before = checker.take(instance.layout)
        self._kill(both=self._random.random() < 0.5)
        instance.wait_for_agent()
        self._settle(wanted, before, f"kill {count}, at rest")
        self._quiet(f"kill {count}, emptied", steady)
        self.outcome.off += [f"kill {count}: {text}" for text in instance.broken_logs()]
        self.outcome.gauges = self._gauges(base)
        grown = [each for each in self.outcome.gauges if not each.is_well]
        self.outcome.off += [f"kill {count}: {each.name} {each.before} -> {each.now}" for each in grown]
        if any("descriptors" in each.name for each in grown):
            self._say_descriptors()
        self.outcome.checkpoints += 1
        if self._churn_error:
            self.outcome.off.append(f"kill {count}: {self._churn_error}")
            self._churn_error = ""
        self._say(
            f"kill {count:5} supervisors {self.outcome.supervisor_kills:4} commits {self.outcome.commits:5} "
            f"settled in {seconds:4.1f} s  off {len(self.outcome.off)}"
        )

    def _gauges(self, base: dict[str, int]) -> list[Measured]:
        """As they come to rest: a program of a container may be between two of its own short processes."""
        deadline = time.monotonic() + REST_SECONDS
        while True:
            found = compare(base, measure(self._instance.layout, self._instance.agent_pid))
            if all(each.is_well for each in found) or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _say_descriptors(self) -> None:
        supervisors = kernel.read_kernel(self._instance.layout).supervisors
        for pid in (self._instance.agent_pid, *(each.pid for each in supervisors)):
            self._say(f"  descriptors of {pid}: {dict(kinds_of_descriptors(pid))}")

    def _settle(self, wanted: State, before: checker.Snapshot | None, when: str) -> float:
        begun = time.monotonic()
        found = self._instance.settle(wanted, before)
        self.outcome.off += [f"{when}: {text}" for text in found]
        for text in found:
            self._say(f"  {when}: {text}")
        seconds = time.monotonic() - begun
        self.outcome.settle_seconds.append(seconds)
        return seconds

    def _quiet(self, when: str, before: checker.Snapshot | None) -> None:
        """The churned project gone, an agent that was started for nothing else."""
        with self._may_commit:
            wanted = self._commit(self._churn.nothing())
        self._instance.stop_asking()
        self._settle(wanted, before, when)
        self._instance.kill_agent()
        self._instance.start_agent()
        self._instance.wait_for_agent()
        self._settle(wanted, before, when)

    # --- the churn, in a thread of its own

    def _change_all_the_time(self) -> None:
        draw = random.Random(self._plan.seed + 2)
        while not self._is_over:
            if not self._is_churning.wait(0.2):
                continue
            try:
                with self._may_commit:
                    if self._is_churning.is_set():
                        self._commit(self._churn.next_state())
            except Exception as error:  # told at the next checkpoint: a thread's death is told to nobody
                self._churn_error = f"churn: {error}"
            self._ask(draw)
            time.sleep(draw.uniform(0.0, COMMIT_SECONDS * 2))

    def _commit(self, state: State) -> State:
        text = state.compose() if state.services else None
        path = self._instance.story.tree / "churn/compose.yaml"
        if text is not None or path.exists():
            self._instance.story.commit({"churn/compose.yaml": text})
        self.outcome.commits += 1
        return state

    def _ask(self, draw: random.Random) -> None:
        instance = self._instance
        name = draw.choice(NAMES)
        match draw.randrange(6):
            case 0:
                instance.ask("exec", "steady/s0", "sh", "-c", "echo x > /data/x; sleep 0.2")
            case 1:
                instance.ask("exec", f"churn/{name}", "sleep", "0.1")
            case 2:
                instance.ask("logs", "steady/s1")
            case 3:
                instance.ask("restart", f"churn/{name}")
            case 4:
                instance.ask("logs", "-f", f"churn/{name}")
            case _:
                instance.ask("stats", "--no-stream")
