"""Find the markers that a shell's integration script writes into the terminal's output.

A pure parser: bytes in, bytes and markers out, no I/O and no loop. Whatever way the stream is cut into chunks, the
markers found are the same, and the text and every `Marker.raw` put together again are the bytes that came in.

    parser = MarkerParser(nonce="8b1f3c52")
    parser.feed(b"\\x1b]633;C\\x07hello\\r\\n\\x1b]633;D;0")   # [Marker(C), b"hello\\r\\n"]
    parser.feed(b"\\x07$ ")                                  # [Marker(D, exit_code=0), b"$ "]
    parser.flush()                                         # [] : nothing was held back

Read in this order: `marker` (what comes out), `grammar` (what a marker looks like in bytes), `fields` (what its payload
says), `parser` (how a stream is cut up).
"""

from .marker import Kind, Marker
from .parser import OVERFLOW, MarkerParser, ParserStats, RecoveryMode

__all__ = ["OVERFLOW", "Kind", "Marker", "MarkerParser", "ParserStats", "RecoveryMode"]
