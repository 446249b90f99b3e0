"""The runtime's own services leave all names to the application."""

from __future__ import annotations

import pytest

from ukemi import Actor, ComponentNotFound, Runtime, child, supervisor


class Reporter(Actor):
    """Has the name of a service."""


@pytest.mark.rule("R2")
async def test_a_service_does_not_make_an_applications_name_ambiguous() -> None:
    tree = supervisor("app", child("reporter", Reporter))
    async with Runtime(tree, services=lambda _: [child("reporter", Reporter), child("debug", Reporter)]) as runtime:
        assert runtime.ref("reporter").path == "/app/reporter"
        assert runtime.ref("/ukemi/reporter").path == "/ukemi/reporter"
        with pytest.raises(ComponentNotFound):
            runtime.ref("debug")
