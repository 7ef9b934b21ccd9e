"""Serving: models over HTTP in OpenAI's terms, the chat page, the chat in a terminal."""
