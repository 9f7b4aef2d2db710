"""Another name, other networks: configs alone."""

from __future__ import annotations

from runtime.model import ContainerConfig, EndpointConfig, SandboxConfig
from runtime.renaming import placed, renamed, renamed_endpoints


def test_it_is_found_by_its_new_name_in_the_place_of_the_old() -> None:
    sandbox = SandboxConfig("own", "s", (EndpointConfig("net", ("web", "one", "alias")), EndpointConfig("b")))
    found = renamed(ContainerConfig("i", "one", "x", sandbox), "two")
    assert found.name == "two" and found.sandbox.id == "s"
    assert found.sandbox.endpoints == (EndpointConfig("net", ("web", "two", "alias")), EndpointConfig("b"))


def test_a_name_is_there_once() -> None:
    assert renamed_endpoints((EndpointConfig("net", ("one", "two")),), "one", "two") == (
        EndpointConfig("net", ("two",)),
    )


def test_places() -> None:
    a, b, c = (EndpointConfig(name) for name in "abc")
    assert (
        placed((a, b), c, 1) == (a, c, b) and placed((a, b), c, 9) == (a, b, c) and placed((), c, 0) == (c,)
    )
    again = EndpointConfig("a", ("x",))
    assert placed((a, b), again, 5) == (again, b)
