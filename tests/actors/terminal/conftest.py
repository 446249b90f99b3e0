"""Real programs on real terminals, each closed when its test ends."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import attrs
import pytest
import trio

from ukemi.actors.parser import Marker, MarkerParser
from ukemi.actors.terminal import Pty, encode_command, integration, launch

PATIENCE = 30  # seconds: a test that takes longer hangs

Spawn: TypeAlias = Callable[..., Awaitable[Pty]]


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    made: list[Pty] = []

    async def spawn(*argv: str, **options: object) -> Pty:
        made.append(await Pty.spawn(argv, **options))  # type: ignore[arg-type]
        return made[-1]

    yield spawn
    for pty in made:
        await pty.aclose(grace=0)


@attrs.frozen
class Ran:
    """What a command did, as its markers tell."""

    output: bytes
    exit_code: int | None
    cwd: str | None
    line: str | None


@attrs.define
class Shell:
    """An integrated shell, as its terminal sees it: markers that it signed, and text."""

    pty: Pty
    kind: str
    nonce: str
    parser: MarkerParser
    _arrived: list[bytes | Marker] = attrs.field(factory=list)

    async def next(self) -> bytes | Marker:
        while not self._arrived:
            data = await self.pty.receive_some()
            assert data, "the shell is gone"
            self._arrived = self.parser.feed(data)
        return self._arrived.pop(0)

    async def until(self, kind: str) -> tuple[bytes, dict[str, Marker]]:
        """Return the text and the last marker of each kind that came before the next marker of `kind`, included."""
        text = bytearray()
        markers: dict[str, Marker] = {}
        with trio.fail_after(PATIENCE):
            while kind not in markers:
                piece = await self.next()
                if isinstance(piece, bytes):
                    text += piece
                elif piece.trusted:
                    markers[piece.kind] = piece
                else:
                    text += piece.raw
        return bytes(text), markers

    async def text(self, wanted: bytes) -> bytes:
        """Return what is received until `wanted` is in it."""
        text = b""
        with trio.fail_after(PATIENCE):
            while wanted not in text:
                piece = await self.next()
                text += piece if isinstance(piece, bytes) else piece.raw
        return text

    async def busy(self) -> None:
        """Wait until a program other than the shell has the terminal: between fork and exec, SIGINT may be lost."""
        with trio.fail_after(PATIENCE):
            while Path(f"/proc/{os.tcgetpgrp(self.pty._master)}/comm").read_text().strip() == self.kind:
                await trio.sleep(0.001)

    async def idle(self) -> None:
        """Wait until the shell waits, and not only for a moment: a SIGINT before may lie there until a key comes."""
        asleep = 0
        with trio.fail_after(PATIENCE):
            while asleep < 20:
                state = Path(f"/proc/{self.pty.pid}/stat").read_text().rpartition(")")[2].split()[0]
                asleep = asleep + 1 if state == "S" else 0
                await trio.sleep(0.002)

    async def prompt(self) -> dict[str, Marker]:
        return (await self.until("B"))[1]

    async def typed(self, keys: bytes) -> Ran:
        """Type `keys`, which are one command, and wait for the prompt after it."""
        await self.pty.send_all(keys)
        _, started = await self.until("C")
        output, ended = await self.until("D")
        await self.prompt()
        return Ran(output, ended["D"].exit_code, ended["P"].cwd, started["E"].command)

    async def run(self, command: str) -> Ran:
        return await self.typed(encode_command(command, self.kind))  # type: ignore[arg-type]


Start: TypeAlias = Callable[..., Awaitable[Shell]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / ".config" / "fish").mkdir(parents=True)
    return home


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let shells be started with a copy of bash's script in which something is replaced."""

    def replace(text: str, by: str) -> None:
        script = (integration._SCRIPTS / "bash.sh").read_text()
        assert text in script
        (tmp_path / "bash.sh").write_text(script.replace(text, by))
        monkeypatch.setattr(integration, "_SCRIPTS", tmp_path)

    return replace


@pytest.fixture
def start(spawn: Spawn, home: Path) -> Start:
    """Start a shell at its first prompt, with `rc` in the file that the user has for it."""
    files = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}

    async def start(kind: str, rc: str = "", *, login: bool = False, env: dict[str, str] | None = None) -> Shell:
        path = shutil.which(kind)
        if path is None:
            pytest.skip(f"{kind} is not installed")
        (home / files[kind]).write_text(rc)
        nonce = secrets.token_hex(8)
        base = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **(env or {})}
        how = launch(path, nonce=nonce, env=base, login=login)
        pty = await spawn(*how.argv, env=how.env, cwd=str(home))
        shell = Shell(pty, kind, nonce, MarkerParser(nonce))
        await shell.prompt()
        return shell

    return start
