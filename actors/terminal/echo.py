"""What a terminal shows around the output of a command that nothing marks: its echo before it, the prompt after it."""

from __future__ import annotations


class Echo:
    """Tells a command's output from its echo and the next prompt, as far as these are exactly what is expected.

    The echo is what was typed, where nothing else comes first. The prompt is the same as before the command, and waits
    until it is known to be the end.
    """

    def __init__(self, typed: bytes, prompt: bytes) -> None:
        self._echo = typed.replace(b"\n", b"\r\n")
        self._prompt = prompt
        self._held = b""

    def take(self, text: bytes) -> bytes:
        """The output in all that has come so far, but for what was told before."""
        text, self._held = self._held + text, b""
        if self._echo:
            if self._echo.startswith(text):
                self._held = text
                if text != self._echo:
                    return b""
            if text.startswith(self._echo):
                text, self._held = text[len(self._echo) :], b""
            self._echo = b""
        line = text.rfind(b"\n") + 1
        if self._prompt and self._prompt.startswith(text[line:]):
            text, self._held = text[:line], text[line:]
        return text

    def rest(self) -> tuple[bytes, bytes]:
        """At the end, what was held back: as output, and as the prompt."""
        return (b"", self._held) if self._held == self._prompt else (self._held, b"")
