"""Refusals in the form that OpenAI's clients read."""

from typing import Any


class ApiError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: What is wrong and what to do instead.
        param: The field it is about.
        code: A word that programs can test.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "invalid_request_error"),
                "param": self.param,
                "code": self.code,
            }
        }


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


def full(taken: int) -> ApiError:
    """The refusal of a server whose queue is full."""
    return ApiError(
        429,
        f"{taken} completions are open, which fills the server: try again in a second",
        code="queue_full",
        headers={"Retry-After": "1"},
    )
