"""The chat in a terminal: one conversation with one model, token by token."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.rollout.continuous import Continuous, Drawing
from accord.rollout.engine import Engine
from accord.serve.pieces import Pieces
from accord.text.chat import prompt_ids
from accord.text.messages import Message

HELP = "/reset forgets the conversation; /system TEXT sets the system turn and resets; /help; /quit"


@dataclass
class Conversation:
    """A conversation with one model.

    Args:
        engine: The model, its tokenizer, the tokens that end a turn.
        sampling: How tokens are drawn.
        seed: The n-th answer is drawn from seed + n.
        system: The system turn, if any.
        turns: What was said.
    """

    engine: Engine
    sampling: SamplingConfig
    seed: int = 1
    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """The conversation, its system turn first."""
        return [*([Message("system", self.system)] if self.system else []), *self.turns]

    def answer(self, said: str) -> Generator[str, None, None]:
        """The model's answer as it is drawn; it is kept as far as it was read.

        Raises:
            AccordError: The conversation no longer fits the model, or its template refuses it.
        """
        engine = self.engine
        asked = [*self.messages(), Message("user", said)]
        prompt = tuple(prompt_ids(asked, engine.tokenizer))
        limit = engine.model.config.max_position_embeddings
        if len(prompt) >= limit:
            raise AccordError(
                f"the conversation has {len(prompt)} tokens, the model reads {limit}",
                fix="/reset begins anew",
            )
        budget = min(self.sampling.max_new_tokens, limit - len(prompt))
        batch = Continuous(engine, 1, len(prompt) + budget)
        seed = self.seed + len(self.turns) // 2
        drawing = Drawing(prompt, self.sampling, seed, budget)
        pieces = Pieces(engine.tokenizer, engine.end_ids, budget, self.sampling.stop)
        shown: list[str] = []
        try:
            tokens = batch.join([drawing])
            while True:
                piece = pieces.add(tokens[0])
                if piece is not None:
                    shown.append(piece.text)
                    yield piece.text
                    if piece.finish:
                        break
                tokens = batch.step()
        finally:
            self.turns += [Message("user", said), Message("assistant", "".join(shown))]

    def reset(self, system: str | None) -> None:
        """Begin anew with this system turn."""
        self.system = system
        self.turns.clear()


def chat(
    conversation: Conversation, read: Callable[[], str], show: Callable[[str], object]
) -> None:
    """Talk until the input ends.

    Args:
        conversation: With whom.
        read: Gives a line; raises EOFError where there is none.
        show: Shows text, without a line's end of its own.
    """
    while True:
        try:
            line = read().strip()
        except EOFError:
            show("\n")
            return
        except KeyboardInterrupt:
            show("\n")  # a line is given up, as in a shell
            continue
        if line in ("/quit", "/exit"):
            return
        if line.startswith("/"):
            show(_command(conversation, line) + "\n")
        elif line:
            _answered(conversation, line, show)


def _answered(conversation: Conversation, line: str, show: Callable[[str], object]) -> None:
    """Show the answer to a line; Ctrl-C stops it."""
    answer = conversation.answer(line)
    try:
        for text in answer:
            show(text)
        show("\n")
    except KeyboardInterrupt:
        answer.close()
        show(" [stopped]\n")
    except AccordError as error:
        show("\n".join(error.lines()) + "\n")


def _command(conversation: Conversation, line: str) -> str:
    name, _, rest = line.partition(" ")
    if name == "/reset":
        conversation.reset(conversation.system)
        return "[a new conversation]"
    if name == "/system":
        conversation.reset(rest.strip() or None)
        return "[a new conversation under this system turn]" if rest else "[no system turn]"
    return HELP


def greeting(name: str) -> str:
    """What stands above a conversation."""
    return f"{name}: {HELP}; Ctrl-C stops an answer, Ctrl-D leaves"
