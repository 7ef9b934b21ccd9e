"""OpenAI's own client against the server."""

import openai
import pytest

from accord.config.generate import SamplingConfig
from accord.pipeline.generate import complete

ASKED = [{"role": "user", "content": "What was the film like?"}]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def chat(client, **settings):
    settings = {"model": "sft", "messages": ASKED, "max_tokens": 24, "seed": 5} | settings
    return client.chat.completions.create(**settings)


def test_the_models_are_named_by_their_folders(client):
    assert [model.id for model in client.models.list()] == ["sft", "dpo"]
    assert client.models.retrieve("dpo").id == "dpo"


def test_a_chat_answers_what_accord_generates(client, server):
    model = server.models["sft"]
    sampling = SamplingConfig(temperature=0.9, top_p=0.8, max_new_tokens=24)
    (expected,) = complete(
        model.engine.model, model.tokenizer, [ASKED[0]["content"]], sampling, 5, chat=True
    )
    answer = chat(client, temperature=0.9, top_p=0.8)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage.completion_tokens == len(expected.ids)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + len(expected.ids)


def test_a_stream_adds_up_to_the_answer(client):
    whole = chat(client, n=3, logprobs=True, top_logprobs=2)
    texts, tokens, finish = ["", "", ""], [[], [], []], [None] * 3
    usage = None
    for chunk in chat(
        client, n=3, logprobs=True, top_logprobs=2, stream=True,
        stream_options={"include_usage": True},
    ):  # fmt: skip
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert finish[choice.index] is None, "something came after the end"
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
            finish[choice.index] = choice.finish_reason
    for choice, text, its, ended in zip(whole.choices, texts, tokens, finish, strict=True):
        assert choice.message.content == text
        assert choice.finish_reason == ended
        assert [t.token for t in choice.logprobs.content] == [t.token for t in its]
        assert all(len(t.top_logprobs) == 2 and t.logprob <= 0 for t in its)
    assert usage == whole.usage
    assert len(set(texts)) == 3


def test_a_seed_gives_the_same_text_and_its_choices_differ(client):
    first, again = chat(client, n=2), chat(client, n=2)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert texts[0] != texts[1]
    assert chat(client, seed=6).choices[0].message.content != texts[0]


def test_stop_strings_end_an_answer_before_them(client):
    text = chat(client, temperature=0).choices[0].message.content
    stop = text[7:10]
    for given in (stop, ["never said", stop]):
        answer = chat(client, temperature=0, stop=given)
        assert answer.choices[0].message.content == text[: text.index(stop)]
        assert answer.choices[0].finish_reason == "stop"
        parts = chat(client, temperature=0, stop=given, stream=True)
        shown = "".join(chunk.choices[0].delta.content or "" for chunk in parts)
        assert shown == text[: text.index(stop)]


def test_max_completion_tokens_is_max_tokens(client):
    answer = chat(client, max_tokens=None, max_completion_tokens=3, temperature=0)
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


def test_a_control_token_in_a_message_is_text(client, server):
    tokenizer = server.models["sft"].tokenizer
    said = chat(client, messages=[{"role": "user", "content": "<|im_end|>"}], max_tokens=1)
    empty = chat(client, messages=[{"role": "user", "content": ""}], max_tokens=1)
    spelled = len(tokenizer.encode("<|im_end|>"))
    assert spelled > 1
    assert said.usage.prompt_tokens - empty.usage.prompt_tokens == spelled


def test_messages_in_parts_and_a_developer(client):
    parts = [{"type": "text", "text": "What was "}, {"type": "text", "text": "the film like?"}]
    in_parts = chat(client, messages=[{"role": "user", "content": parts}])
    assert in_parts.choices[0].message.content == chat(client).choices[0].message.content
    system, developer = (
        chat(client, messages=[{"role": role, "content": "Be brief."}, *ASKED])
        for role in ("system", "developer")
    )
    assert system.choices[0].message.content == developer.choices[0].message.content


def test_completions_of_texts_and_of_ids(client, server):
    tokenizer = server.models["dpo"].tokenizer
    texts = ["This is", "The plot"]
    settings = {"model": "dpo", "max_tokens": 8, "temperature": 0, "logprobs": 3}
    answer = client.completions.create(prompt=texts, **settings)
    assert [choice.index for choice in answer.choices] == [0, 1]
    ids = [[tokenizer.start_id, *tokenizer.encode(text)] for text in texts]
    by_ids = client.completions.create(prompt=ids, **settings)
    assert [c.text for c in by_ids.choices] == [c.text for c in answer.choices]
    one = client.completions.create(prompt=ids[1], **settings)
    assert one.choices[0].text == answer.choices[1].text
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 8
    assert max(logprobs.top_logprobs[0].values()) == logprobs.token_logprobs[0]
    streamed = client.completions.create(prompt=texts, stream=True, **settings)
    shown = ["", ""]
    for chunk in streamed:
        shown[chunk.choices[0].index] += chunk.choices[0].text
    assert shown == [choice.text for choice in answer.choices]


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (openai.NotFoundError, {"model": "stf"}, "did you mean 'sft'"),
        (openai.BadRequestError, {"max_tokens": -1}, "max_tokens"),
        (openai.BadRequestError, {"max_tokens": 10**30}, "max_tokens"),
        (openai.BadRequestError, {"max_tokens": 4000}, "512"),
        (openai.BadRequestError, {"n": 0}, "n:"),
        (openai.BadRequestError, {"n": 10**9}, "n:"),
        (openai.BadRequestError, {"stop": ["x"] * 99}, "stop"),
        (openai.BadRequestError, {"stop": "x" * 999}, "stop"),
        (openai.BadRequestError, {"stop": ""}, "stop"),
        (openai.BadRequestError, {"temperature": -0.1}, "temperature"),
        (openai.BadRequestError, {"top_p": 0}, "top_p"),
        (openai.BadRequestError, {"messages": []}, "messages"),
        (openai.BadRequestError, {"messages": [{"role": "tool", "content": "x"}]}, "role"),
        (openai.BadRequestError, {"extra_body": {"best": 1}}, "best"),
        (openai.BadRequestError, {"logit_bias": {"3": 1}}, "logit_bias"),
    ],
    ids=str,
)
def test_what_is_refused_is_refused_in_the_clients_terms(client, kind, settings, said):
    with pytest.raises(kind, match=said) as refused:
        chat(client, **settings)
    assert refused.value.type == "invalid_request_error"


def test_a_prompt_longer_than_the_context_is_refused_with_the_counts(client):
    with pytest.raises(openai.BadRequestError, match=r"reads 512 tokens.*has \d{3,}") as refused:
        chat(client, messages=[{"role": "user", "content": "film " * 600}])
    assert refused.value.code == "context_length_exceeded"
