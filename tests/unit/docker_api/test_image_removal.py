"""What stands in the way of a removal, in the daemon's words, and the rows that it gives."""

from __future__ import annotations

import pytest

from agent.api.docker.image_names import ShownNames
from agent.api.docker.image_removal import User, check_removal, rows
from runtime.errors import Conflict

ID, LAYER, DIGEST = (f"sha256:{each * 64}" for each in "abd")
ONE = ShownNames(("x:1",), (f"x@{DIGEST}",))
TWO = ShownNames(("x:1", "y:1"), (f"x@{DIGEST}", f"y@{DIGEST}"))
NONE = ShownNames((), ())
RUNNING, STOPPED = User("1" * 64, True), User("2" * 64, False)


@pytest.mark.parametrize(
    ("names", "users", "by_name", "force", "message"),
    [
        (ONE, (), True, False, ""),
        (ONE, (), False, False, ""),
        (
            ONE, (STOPPED,), True, False,
            'unable to remove repository reference "x:1" (must force) - container 222222222222 is using its '
            "referenced image aaaaaaaaaaaa",
        ),
        (ONE, (STOPPED,), True, True, ""),
        (TWO, (RUNNING,), True, False, ""),
        (
            ONE, (RUNNING,), False, True,
            "unable to delete aaaaaaaaaaaa (cannot be forced) - image is being used by running container "
            "111111111111",
        ),
        (ONE, (STOPPED, RUNNING), False, False, "being used by running container 111111111111"),
        (ONE, (STOPPED,), False, False, "(must be forced) - image is being used by stopped container 2222"),
        (ONE, (STOPPED,), False, True, ""),
        (NONE, (STOPPED,), False, False, "(must be forced) - image is being used by stopped container"),
        (NONE, (STOPPED,), False, True, "(cannot be forced) - image is being used by stopped container"),
        (TWO, (), False, False, "(must be forced) - image is referenced in multiple repositories"),
        (TWO, (), False, True, ""),
        (ShownNames(("x:1", "x:2"), (f"x@{DIGEST}",)), (), False, False, "multiple repositories"),
        (NONE, (), False, False, ""),
    ],
)  # fmt: skip
def test_conflicts(
    names: ShownNames, users: tuple[User, ...], by_name: bool, force: bool, message: str
) -> None:
    if not message:
        check_removal(ID, names, "x:1", users, by_name=by_name, force=force)
        return
    with pytest.raises(Conflict) as raised:
        check_removal(ID, names, "x:1", users, by_name=by_name, force=force)
    assert raised.value.reason.startswith("conflict: ")
    assert message in raised.value.reason


def test_rows_of_a_removal() -> None:
    assert rows(("x:1", ID, LAYER), ONE, NONE) == [
        {"Untagged": "x:1"}, {"Untagged": f"x@{DIGEST}"}, {"Deleted": ID}, {"Deleted": LAYER},
    ]  # fmt: skip
    assert rows(("x:1",), TWO, ShownNames(("y:1",), (f"y@{DIGEST}",))) == [
        {"Untagged": "x:1"}, {"Untagged": f"x@{DIGEST}"},
    ]  # fmt: skip
    both = ShownNames(("x:1", "x:2"), (f"x@{DIGEST}",))
    assert rows(("x:1",), both, ShownNames(("x:2",), (f"x@{DIGEST}",))) == [{"Untagged": "x:1"}]
    assert rows((f"x@{DIGEST}", ID), ShownNames((), (f"x@{DIGEST}",)), NONE) == [
        {"Untagged": f"x@{DIGEST}"}, {"Deleted": ID},
    ]  # fmt: skip
