"""A naive reference for the parser.

It goes through a whole stream byte by byte and decides what a sequence is with plain string methods. It shares nothing
with the parser but the words of the specification, and it never sees a chunk.
"""

from typing import TypeAlias

# A stream taken apart: text and the raw bytes of markers, in order, as ("text" | "marker", bytes).
Parts: TypeAlias = list[tuple[str, bytes]]

ENV = ("EnvJson", "EnvSingleStart", "EnvSingleEntry", "EnvSingleDelete", "EnvSingleEnd")
KINDS = {"633": (*"ABCDEFGHIP", "SetMark", *ENV), "133": (*"ABCD",)}


def is_known(body: bytes) -> bool:
    """Tell whether an OSC that holds `body` is one of the shell's."""
    said = "".join(chr(byte) for byte in body if byte >= 0x20)
    number, semicolon, rest = said.lstrip("0").partition(";")
    if not semicolon:
        return False
    if number in KINDS:
        return rest.split(";")[0] in KINDS[number]
    if number == "7":
        return rest.startswith("file://") and "/" in rest.removeprefix("file://")
    if number == "9":
        return rest.startswith("9;") and rest != "9;"
    return number == "1337" and rest.startswith("CurrentDir=") and rest != "CurrentDir="


class Naive:
    """The reference: a state, and a step for each byte."""

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.parts: Parts = []
        self.state = "ground"
        self.raw = b""

    def parse(self, stream: bytes) -> Parts:
        for byte in stream:
            getattr(self, self.state)(bytes([byte]))
        self.end()
        return self.parts

    def text(self, data: bytes) -> None:
        if self.parts and self.parts[-1][0] == "text":
            data = self.parts.pop()[1] + data
        if data:
            self.parts.append(("text", data))

    def close(self, body: bytes) -> None:
        if is_known(body) and len(body) <= self.max_payload:
            self.parts.append(("marker", self.raw))
        else:
            self.text(self.raw)
        self.raw, self.state = b"", "ground"

    def ground(self, byte: bytes) -> None:
        if byte == b"\x1b":
            self.raw, self.state = byte, "escape"
        else:
            self.text(byte)

    def escape(self, byte: bytes) -> None:
        if byte == b"]":
            self.raw, self.state = self.raw + byte, "osc"
        elif byte == b"\x1b":
            self.text(self.raw)
        else:
            self.text(self.raw + byte)
            self.raw, self.state = b"", "ground"

    def osc(self, byte: bytes) -> None:
        body = self.raw[2:]
        if byte == b"\x1b":
            self.state = "osc_escape"
        elif byte in b"\x18\x1a":
            self.text(self.raw + byte)
            self.raw, self.state = b"", "ground"
        else:
            self.raw += byte
            if byte == b"\x07":
                self.close(body)
            elif byte == b"\x9c" and body.endswith(b"\xc2"):
                self.close(body[:-1])

    def osc_escape(self, byte: bytes) -> None:
        body = self.raw[2:]
        if byte == b"\\":
            self.raw += b"\x1b\\"
            self.close(body)
        else:
            self.close(body)
            self.raw, self.state = b"\x1b", "escape"
            self.escape(byte)

    def end(self) -> None:
        if self.state == "osc_escape":
            self.close(self.raw[2:])
            self.raw = b"\x1b"
        self.text(self.raw)


def naive(stream: bytes, max_payload: int = 65_536) -> Parts:
    return Naive(max_payload).parse(stream)
