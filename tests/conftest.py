"""What all tests share: every message is encoded and decoded on its way (rule X5), and signals are as in a terminal."""

import os
import signal

os.environ.setdefault("UKEMI_ENCODE_MESSAGES", "1")

# Whoever runs the tests in the background may have had them ignored, for all that the tests start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
