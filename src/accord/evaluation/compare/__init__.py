"""Two runs side by side: what differs between them, and which differences may be read at all."""
