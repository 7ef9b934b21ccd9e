"""Chat templates that come with a model's folder, rendered so that content stays text.

The template runs over marks in place of the contents. What stands between the marks is the
template's own, and only there do control tokens count as such; contents go in afterwards.
"""

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from accord.errors import AccordError
from accord.text.bounded import refusal, rendered
from accord.text.messages import Message
from accord.text.pieces import Piece
from accord.text.tokenizer import Tokenizer

_MARK = re.compile("\ue000(\\d+)\ue001")  # private use characters that trimming leaves alone


def jinja_pieces(
    source: str,
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    generation: bool,
    scored: Collection[int] = (),
) -> list[Piece]:
    """The conversation as the template lays it out.

    A response is what follows the template's own generation prompt, up to and including the
    control token that closes it.

    Args:
        source: Jinja text.
        messages: The conversation.
        tokenizer: Names the control tokens.
        generation: Whether the generation prompt is added.
        scored: Indices of the assistant messages that carry loss.

    Raises:
        AccordError: The template fails, edits or drops contents, or does not say where a scored
            response begins or ends.
    """
    marked = [Message(m.role, f"\ue000{i}\ue001") for i, m in enumerate(messages)]
    answers = [i for i, m in enumerate(messages) if m.role == "assistant"]
    runs = [(marked, generation), (messages, generation), *((marked[:i], True) for i in answers)]
    shown, real, *before = rendered(source, runs, _tokens(tokenizer))
    text = _whole(shown)
    _check_contents(text, messages, _whole(real))
    control = _control_pattern(tokenizer)
    prompts = dict(zip(answers, before, strict=True))
    spans = {i: _span(text, i, i in scored, prompts[i], marked[i], control) for i in answers}
    cuts = sorted({0, len(text), *(cut for span in spans.values() for cut in span)})
    pieces: list[Piece] = []
    for begin, end in pairwise(cuts):
        turn = next((i for i, (b, e) in spans.items() if b <= begin < e), None)
        pieces += _split(text[begin:end], turn, messages, tokenizer, control)
    return pieces


def _span(
    text: str,
    index: int,
    scored: bool,
    prompt: str | AccordError,
    marked: Message,
    control: re.Pattern[str],
) -> tuple[int, int]:
    """Where a response begins and ends in the marked text; many templates refuse a prompt."""
    mark = marked.content
    begin, end = text.index(mark), text.index(mark) + len(mark)
    closing = re.compile(rf"\s*(?:{control.pattern})").match(text, end)
    if closing:
        end = closing.end()
    elif scored:
        raise refusal(
            "the chat template closes an assistant turn without a control token, so a model "
            "trained on it would never learn to stop"
        )
    if isinstance(prompt, str) and text.startswith(prompt):
        begin = len(prompt)
    elif scored:
        raise refusal(
            f"the chat template's generation prompt before message {index} is not how the "
            "answered conversation begins, so training and generation would differ"
        )
    return begin, end


def _whole(text: str | AccordError) -> str:
    """What was rendered.

    Raises:
        AccordError: The template refused.
    """
    if isinstance(text, AccordError):
        raise text
    return text


def _split(
    text: str,
    turn: int | None,
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    control: re.Pattern[str],
) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    for found in re.finditer(f"{_MARK.pattern}|{control.pattern}", text):
        pieces.append(Piece(text[at : found.start()], turn))
        if found[1] is not None:
            pieces.append(Piece(messages[int(found[1])].content, turn))
        else:
            token = found[0] if found[0] in tokenizer.control_tokens else found[0].strip()
            pieces.append(Piece(tokenizer.token_id(token), turn))
        at = found.end()
    pieces.append(Piece(text[at:], turn))
    return [p for p in pieces if p.content != ""]


def _check_contents(text: str, messages: Sequence[Message], real: str) -> None:
    """Each content stands once, in order and unchanged, in what the template really gives."""
    order = [int(i) for i in _MARK.findall(text)]
    if order != list(range(len(messages))):
        raise refusal("the chat template drops, repeats or reorders messages")
    if _MARK.sub(lambda m: messages[int(m[1])].content, text) != real:
        raise refusal(
            "the chat template edits what the messages say (it may strip blanks from their ends)",
            "strip the contents in the data first, or choose one of Accord's chat templates",
        )


def _control_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Matches any control token, with the blanks that a token swallows."""
    alternatives = [
        (r"\s*" if t.lstrip else "") + re.escape(t.content) + (r"\s*" if t.rstrip else "")
        for t in sorted(tokenizer.control_tokens.values(), key=lambda t: -len(t.content))
    ]
    return re.compile("|".join(alternatives))


def _tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The control tokens that a template knows by name."""
    tokens = {
        "eos_token": tokenizer.end_token,
        "bos_token": tokenizer.bos_token,
        "pad_token": tokenizer.pad_token,
    }
    return {key: token for key, token in tokens.items() if token is not None}
