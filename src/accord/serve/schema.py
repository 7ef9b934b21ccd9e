"""What the server is asked, in OpenAI's words: strict, so that nothing is quietly ignored."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 64
MOST_TOKENS = 1 << 20
_MOST_STOPS = 16

Stop = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, le=2**31)]


class Strict(BaseModel):
    """A request that refuses what it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class TextPart(Strict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    """Taken and not shown to the model."""


class StreamOptions(Strict):
    """What a stream holds besides the text."""

    include_usage: bool = False
    """End with a chunk of token counts."""
    include_obfuscation: bool | None = None
    """Taken; nothing is added."""


class TextFormat(Strict):
    """The only format of an answer that there is."""

    type: Literal["text"]


class Sampled(Strict):
    """How completions are drawn; what both kinds of request have."""

    model: str
    """One of `/v1/models`."""
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    """Completions of each prompt."""
    temperature: float | None = Field(default=None, ge=0, le=100)
    """0 is greedy; 1 where nothing is said."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Draw from the likeliest tokens whose probabilities add up to this."""
    top_k: int | None = Field(default=None, ge=-1, le=MOST_TOKENS)
    """Draw from this many of the likeliest tokens; 0 and -1 are off."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Leave out tokens less likely than this share of the likeliest one's probability."""
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    """Tokens of a completion at most."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Taken off the logit of tokens that were drawn before."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Taken off the logit of a token as often as it was drawn."""
    stop: Stop | Annotated[list[Stop], Field(max_length=_MOST_STOPS)] | None = None
    """Strings that end a completion; they are not shown."""
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    """The same seed gives the same text."""
    stream: bool | None = None
    """Send the text as it is drawn, as server-sent events."""
    stream_options: StreamOptions | None = None
    user: str | None = None
    """Taken and not used."""
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    """Only empty: not supported."""

    def stops(self) -> tuple[str, ...]:
        """The stop strings as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(Sampled):
    """A conversation to be answered."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    """The newer name of `max_tokens`."""
    logprobs: bool | None = None
    """Name the log-probability of every token."""
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    """Also name this many of the likeliest tokens at each place."""
    response_format: TextFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    """Only empty: not supported."""
    store: Literal[False] | None = None
    """Nothing is stored."""
    metadata: dict[str, str] | None = None
    """Taken and not used."""


class CompletionRequest(Sampled):
    """A text to go on from."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[
            list[Annotated[list[TokenId], Field(min_length=1)]],
            Field(min_length=1, max_length=MOST_CHOICES),
        ]
    )
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Name the log-probability of every token, and this many of the likeliest."""
    echo: Literal[False] | None = None
    """The prompt is never repeated."""
    suffix: None = None
    """Not supported."""
    best_of: Literal[1] | None = None
    """Not supported."""

    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or ids."""
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        ids = [part for part in prompt if isinstance(part, int)]
        return [ids] if ids else [part for part in prompt if not isinstance(part, int)]


class PreferenceRequest(Strict):
    """One answer preferred to others of the same conversation."""

    prompt: list[ChatMessage] = Field(min_length=1)
    chosen: str = Field(min_length=1)
    rejected: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=16)
    chosen_model: str | None = None
    rejected_models: list[str] | None = None


class Usage(BaseModel):
    """Token counts; those that end a completion count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ErrorText(BaseModel):
    """What was refused and why."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every refusal."""

    error: ErrorText


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[ModelCard]


class TokenLogprob(BaseModel):
    """A token and its natural log-probability under the model itself."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TokenLogprob):
    """The same, with the likeliest tokens there."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """A completion's tokens."""

    content: list[ChatLogprob]
    refusal: None = None


class AnswerMessage(BaseModel):
    """The assistant's turn."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """The answer to `/v1/chat/completions` without `stream`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextLogprobs(BaseModel):
    """A completion's tokens, in the older form."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """One of `n` completions of a prompt."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(BaseModel):
    """The answer to `/v1/completions` without `stream`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class PreferenceSaved(BaseModel):
    """How many rows were appended, and to which file."""

    rows: int
    file: str
