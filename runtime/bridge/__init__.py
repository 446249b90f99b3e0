"""The bridge: what `ukemi run` starts."""
