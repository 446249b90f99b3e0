"""What each debug command does to a running tree."""

from pathlib import Path

import pytest

from ukemi.runtime.debug.commands import COMMANDS

from .debug_shop import Client, Counter, open_shop


async def add(client: Client, n: int) -> int:
    return await client.ok("call", actor="counter", method="add", args=[n])


async def test_tree_shows_the_running_tree_or_a_part_of_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        tree = await client.ok("tree")
        assert [child["name"] for child in tree["children"]] == ["counter", "shelf", "guests"]
        assert (await client.ok("tree", actor="shelf"))["depends_on"] == ["counter"]
        assert (await client.ok("tree", actor="/ukemi"))["name"] == "ukemi"


async def test_info_tells_kind_state_counts_spec_and_messages(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        info = await client.ok("info", actor="counter")
        assert (info["kind"], info["state"], info["restarts"]) == ("Counter", "running", 0)
        assert info["spec"]["restart"] == "permanent"
        assert "add(n: int) -> int" in info["messages"]
        assert info["last_crash"] is None
        assert (await client.ok("info", actor="shop"))["spec"]["strategy"] == "dependents"


async def test_info_and_crashes_tell_of_the_last_crash(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        error = (await client.ask("call", actor="counter", method="crash"))["error"]
        assert error["type"] == "ActorCrashed"
        assert error["message"] == "/shop/counter crashed in crash: RuntimeError: the till is broken"
        await add(client, 1)
        info = await client.ok("info", actor="counter")
        assert info["last_crash"] == "RuntimeError: the till is broken"
        assert info["restarts"] == 1
        assert [(each["path"], each["error"]) for each in await client.ok("crashes")] == [
            ("/shop/counter", "RuntimeError: the till is broken")
        ]


async def test_crashes_shows_no_more_than_asked_for(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        for _ in range(3):
            await client.ask("call", actor="counter", method="crash")
            await add(client, 1)
        assert len(await client.ok("crashes", last=2)) == 2
        assert await client.ok("crashes", last=0) == []
        assert await client.ok("events", last=0) == []
        assert len(await client.ok("events", last=3)) == 3


async def test_state_shows_attributes_and_runs_nothing(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await add(client, 5)
        assert await client.ok("state", actor="counter") == {"total": "5"}
        await client.ok("stop", actor="counter")
        assert await client.error("state", actor="counter") == "state: counter is not running; it has no state"


async def test_arguments_become_what_the_message_takes(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        items = [{"name": "tea", "price": 2}, {"name": "cup", "price": 7.5}]
        assert await client.ok("call", actor="shelf", method="put", args=items) == 2
        assert "Item(name='tea', price=2.0)" in (await client.ok("state", actor="shelf"))["items"]


@pytest.mark.parametrize(
    ("actor", "method", "args", "says"),
    [
        ("counter", "add", ["two"], "add: n='two' must be int"),
        ("counter", "add", [True], "add: n=True must be int"),
        ("counter", "add", [], "missing a required argument: 'n'"),
        ("counter", "add", [1, 2], "too many positional arguments"),
        ("counter", "subtract", [1], "Counter has no message 'subtract'; its messages are: add"),
        ("counter", "__init__", [1], "Counter has no message '__init__'"),
        ("shelf", "put", [{"price": 2}], "must be "),
        ("nobody", "add", [1], "Component not found: nobody"),
        ("counter", "refuse", [], "not today"),
    ],
)
async def test_a_wrong_call_is_answered_in_one_line_and_crashes_nobody(
    tmp_path: Path, actor: str, method: str, args: list[object], says: str
) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        for command in ("call", "cast") if method != "refuse" else ("call",):
            message = await client.error(command, actor=actor, method=method, args=args)
            assert says in message
            assert "\n" not in message
        assert shop.runtime.ref("counter").stats().crashes == shop.runtime.ref("shelf").stats().crashes == 0


async def test_a_reply_that_json_has_no_form_for_is_told_by_its_repr(tmp_path: Path) -> None:
    async with open_shop(tmp_path, encode_messages=False) as shop, shop.client() as client:
        reply = await client.ok("call", actor="counter", method="opaque")
        assert reply["1"].startswith("<object object")
        assert reply["two"] == "b'\\xff'"


async def test_cast_sends_and_does_not_wait(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert await client.ok("cast", actor="counter", method="add", args=[4]) == "sent add to /shop/counter"
        assert await add(client, 0) == 4


async def test_kill_is_a_crash_that_the_supervisor_answers(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await add(client, 5)
        assert await client.ok("kill", actor="counter") == "killed /shop/counter"
        assert await add(client, 1) == 1
        assert (await client.ok("info", actor="counter"))["restarts"] == 1


async def test_restart_stops_and_starts_an_actor_and_its_dependents(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await add(client, 5)
        shelf = shop.runtime.ref("shelf")
        assert await client.ok("restart", actor="counter") == "restarted /shop/counter"
        assert await add(client, 1) == 1
        assert (shelf.stats().state, shelf.stats().incarnation) == ("running", 2)


async def test_stop_keeps_an_actor_down_until_restart(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await client.ok("stop", actor="counter")
        assert "is not running" in await client.error("call", actor="counter", method="add", args=[1])
        assert await client.error("kill", actor="counter") == "kill: /shop/counter is not running (stopped)"
        assert "is not running" in await client.error("suspend", actor="counter")
        await client.ok("restart", actor="counter")
        assert await add(client, 1) == 1


async def test_stopping_the_root_stops_the_runtime_in_order(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert await client.ok("stop", actor="shop") == "stopping /shop"
        with pytest.raises(EOFError):
            await client.line()
        await shop.runtime.wait()


@pytest.mark.parametrize("command", ["restart", "stop"])
async def test_what_carries_the_connection_can_not_be_stopped_through_it(tmp_path: Path, command: str) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        message = await client.error(command, actor="/ukemi/debug-connections")
        assert "/ukemi/debug-connections carries this connection" in message
        assert "is the root of its tree" in await client.error(command, actor="/ukemi")


async def test_a_suspended_actor_takes_no_message_until_resume(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await client.ok("suspend", actor="counter")
        await client.ok("cast", actor="counter", method="add", args=[4])
        info = await client.ok("info", actor="counter")
        assert (info["state"], info["stats"]["waiting"]) == ("suspended", 1)
        await client.ok("resume", actor="counter")
        assert await add(client, 0) == 4


async def test_trace_shows_sync_calls_of_an_idle_actor_to_this_client_only(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client, shop.client() as other:
        await add(client, 1)
        await client.ok("trace", actor="counter")
        await shop.runtime.ref("counter", Counter).call(Counter.add, 2)
        await add(other, 3)
        await client.ok("trace", actor="counter", switch="off")
        await add(client, 4)
        seen = [(each["kind"], each["method"], each["arguments"], each["outcome"]) for each in client.events]
        assert seen == [("Traced", "add", "2", "3"), ("Traced", "add", "3", "6")]
        assert other.events == []


async def test_a_trace_of_two_clients_lasts_until_both_have_ended_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as first, shop.client() as second:
        await first.ok("trace", actor="counter")
        await first.ok("trace", actor="counter")
        await second.ok("trace", actor="counter")
        await first.ok("trace", actor="counter", switch="off")
        await add(first, 1)
        await second.ok("names")
        assert (len(first.events), len(second.events)) == (0, 1)


async def test_names_and_messages_are_there_for_completion(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert await client.ok("names") == ["counter", "guests", "shelf", "shop"]
        assert await client.ok("names", prefix="/shop/s") == ["/shop/shelf"]
        assert "/ukemi/debug-listener" in await client.ok("names", prefix="/ukemi/")
        assert await client.ok("messages", actor="shelf") == ["put"]


async def test_eval_is_refused_unless_the_runtime_allows_it(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert "start the runtime with --allow-eval" in await client.error("eval", code="1 + 1")


async def test_eval_runs_python_with_await_and_keeps_its_variables(tmp_path: Path) -> None:
    async with open_shop(tmp_path, allow_eval=True) as shop, shop.client() as client:
        assert await client.ok("eval", code="1 + 1") == {"value": "2", "output": ""}
        assert await client.ok("eval", code="n = _ + 1; print('set')") == {"value": None, "output": "set\n"}
        assert (await client.ok("eval", code="await ref('counter').call('add', n)"))["value"] == "3"
        assert (await client.ok("eval", code="import math\nx = await ref('counter').call('add', 1)"))["value"] is None
        assert (await client.ok("eval", code="runtime.spec.name"))["value"] == "'shop'"


@pytest.mark.parametrize("code", ["1 +", "1 / 0", "raise SystemExit", "nobody", "await 5", "raise KeyboardInterrupt"])
async def test_code_that_fails_harms_nobody(tmp_path: Path, code: str) -> None:
    async with open_shop(tmp_path, allow_eval=True) as shop, shop.client() as client:
        assert "\n" not in await client.error("eval", code=code)
        assert (await client.ok("eval", code="2"))["value"] == "2"


async def test_every_command_is_described_for_help(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        hello = await client.ok("hello")
        assert (hello["tree"], hello["allow_eval"]) == ("shop", False)
        assert {each["name"] for each in hello["commands"]} == set(COMMANDS)
        assert all(each["help"] for each in hello["commands"])
        assert [each["name"] for each in await client.ok("help", command="call")] == ["call"]
        assert "there is no command 'destroy'" in await client.error("help", command="destroy")


async def test_an_actor_that_is_stuck_in_a_message_can_be_stopped(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client, shop.client() as other:
        await client.send(b'{"id": 0, "command": "call", "args": {"actor": "counter", "method": "wait"}}\n')
        assert (await other.ok("tree"))["state"] == "running"
        assert await other.ok("stop", actor="counter") == "stopped /shop/counter"
        assert (await client.answer())["error"]["type"] in ("ActorCrashed", "ActorStopped")
