"""One small tokenizer for the room, with merges in three languages and of the chat formats."""

import pytest

from accord.text import Tokenizer

CORPUS = [
    "The film was a delight, and the acting was better than the story.\n",
    "फिल्म बहुत अच्छी थी और अभिनय कहानी से बेहतर था।\n",
    "ಚಿತ್ರ ತುಂಬಾ ಚೆನ್ನಾಗಿತ್ತು ಮತ್ತು ನಟನೆ ಕಥೆಗಿಂತ ಉತ್ತಮವಾಗಿತ್ತು.\n",
    "### Instruction:\nSay it.\n\n### Response:\n<|user|>\n<|assistant|>\nHello, hello!",
] * 3


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """End token `<|endoftext|>`, pad token `<|pad|>`, no bos; ChatML's tokens; `indic` pattern."""
    return Tokenizer.train(CORPUS, vocab_size=420, pattern="indic", chat_template="chatml")
