"""The input of SALMONN's LLaMA: golden token ids, hidden states and logits; truncation, batches, special tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, LlamaConfig, LlamaModel, PreTrainedTokenizerBase

from abhinaya.config.system import FramesHead
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders.salmonn import pretrained_weights
from abhinaya.modeling.encoders.salmonn.prompt import AFTER, ANSWER, BEFORE, PROMPTS, TRANSCRIPT, Prompt, assemble
from abhinaya.modeling.encoders.salmonn.qformer import SpeechTokens
from abhinaya.runtime.errors import UserError
from support import golden
from support.messages import assert_names

torch.set_num_threads(1)

FACTS = golden.listing("salmonn")
CASES = FACTS["cases"]
ARRAYS = {name: torch.from_numpy(value) for name, value in golden.arrays("salmonn").items()}


class Parts(nn.Module):
    """The trained part of SALMONN with the golden weights, and a LLaMA."""

    width = 128

    def __init__(self) -> None:
        super().__init__()
        facts, lora = golden.listing("text"), FACTS["lora"]
        llama = LlamaModel(LlamaConfig(**facts["config"]))
        frozen = golden.weights(facts["seed"], facts["llama"])
        del frozen["lm_head.weight"]
        llama.load_state_dict({name.removeprefix("model."): torch.from_numpy(frozen[name]) for name in frozen})
        self.model = get_peft_model(llama, LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, **lora))
        self.speech = SpeechTokens(64, 64, llama.config.hidden_size)
        theirs = golden.weights(FACTS["seed"], FACTS["weights"])
        expected = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        state = {name: torch.from_numpy(value) for name, value in theirs.items()}
        weights, _ = pretrained_weights.adopt(state, expected, "golden")
        self.load_state_dict(weights, strict=False)

    def forward(self, cases: list[str], speech: Tensor) -> tuple[Tensor, Tensor]:
        pieces = [torch.tensor(CASES[case]["after_ids"] + CASES[case]["answer_ids"]) for case in cases]
        after = pad_sequence(pieces, batch_first=True), torch.tensor([len(piece) for piece in pieces])
        before = torch.tensor([1, *CASES["s2_a"]["before_ids"]])
        spoken = torch.full((len(cases),), speech.shape[1])
        inputs, lengths = assemble(self.model.get_input_embeddings(), before, (speech, spoken), after)
        mask = torch.arange(inputs.shape[1]) < lengths[:, None]
        return self.model(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state, lengths


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    head = golden.listing("head")
    made = Classifier(Parts(), FramesHead(), [1] * 8).eval()
    weights = golden.weights(head["seed"], head["weights"])
    made.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    return made


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(golden.FOLDER / "tokenizer")


@pytest.fixture(scope="module")
def prompt(tokenizer: PreTrainedTokenizerBase) -> Prompt:
    return Prompt(tokenizer)


def transcript(case: str) -> list[str] | None:
    return [CASES[case]["answer"].partition("<Transcript> ")[2]] if case.startswith("st1") else None


@pytest.mark.parametrize("case", CASES)
def test_golden_token_ids(prompt: Prompt, case: str) -> None:
    facts = CASES[case]
    which = 1 if case == "s2prompt2_b" else 0
    assert prompt.before == [1, *facts["before_ids"]]
    assert prompt.after[which] == facts["after_ids"]
    assert prompt.answers(transcript(case)) == ([facts["answer_ids"]], 0)


def test_wording_is_that_of_the_authors() -> None:
    """SALMONN's template, split at the speech tokens, consists of our two parts."""
    whole = [FACTS["prompt_template"].format(prompt).split("<SpeechHere>") for prompt in FACTS["prompts"]]
    assert whole == [[BEFORE, AFTER.format(prompt)] for prompt in PROMPTS]
    assert CASES["s2_a"]["answer"] == ANSWER
    assert CASES["st1_a"]["answer"] == TRANSCRIPT.format("No way!")


def test_golden_layout() -> None:
    """With an embedding that is the id itself, and -1 for speech: all cases in one batch."""
    identity = nn.Embedding.from_pretrained(torch.arange(512.0)[:, None])
    pieces = [torch.tensor(facts["after_ids"] + facts["answer_ids"]) for facts in CASES.values()]
    after = pad_sequence(pieces, batch_first=True, padding_value=7), torch.tensor([len(piece) for piece in pieces])
    before = torch.tensor([1, *CASES["s2_a"]["before_ids"]])
    speech = torch.full((len(CASES), 88, 1), -1.0), torch.full((len(CASES),), 88)
    inputs, lengths = assemble(identity, before, speech, after)
    assert inputs.shape == (len(CASES), 233, 1)
    for row, (case, facts) in enumerate(CASES.items()):
        assert lengths[row] == facts["length"]
        assert inputs[row, : lengths[row], 0].tolist() == ARRAYS[f"{case}_ids"].tolist()
        assert not inputs[row, lengths[row] :].any()


@torch.inference_mode()
def test_golden_hidden_states_and_logits(classifier: Classifier) -> None:
    """From golden speech tokens, all cases in one batch and each alone."""
    speech = torch.stack([ARRAYS[f"tokens_{facts['audio']}"] for facts in CASES.values()])
    hidden, lengths = classifier.encoder(list(CASES), speech)
    logits = classifier(cases=list(CASES), speech=speech)["logits"]
    for row, case in enumerate(CASES):
        np.testing.assert_allclose(hidden[row, : lengths[row]], ARRAYS[f"{case}_hidden"], atol=1e-4)
        np.testing.assert_allclose(logits[row], ARRAYS[f"{case}_logits"], atol=1e-5)
        own = {"cases": [case], "speech": speech[row : row + 1]}
        alone, _ = classifier.encoder(**own)
        np.testing.assert_allclose(alone[0], hidden[row, : lengths[row]], atol=2e-5)
        np.testing.assert_allclose(classifier(**own)["logits"][0], logits[row], atol=1e-5)


@torch.inference_mode()
def test_golden_numbers_from_features(classifier: Classifier) -> None:
    """From Whisper's and BEATs' features to logits."""
    cases = [case for case, facts in CASES.items() if facts["audio"] in "ab"]
    clips = [CASES[case]["audio"] for case in cases]
    features = [ARRAYS[f"beats_{clip}"] for clip in clips]
    speech, _ = classifier.encoder.speech(
        torch.stack([ARRAYS[f"whisper_{clip}"] for clip in clips]),
        pad_sequence(features, batch_first=True),
        torch.tensor([len(audio) for audio in features]),
    )
    hidden, lengths = classifier.encoder(cases, speech)
    logits = classifier(cases=cases, speech=speech)["logits"]
    for row, case in enumerate(cases):
        np.testing.assert_allclose(hidden[row, : lengths[row]], ARRAYS[f"{case}_hidden"], atol=1e-4)
        np.testing.assert_allclose(logits[row], ARRAYS[f"{case}_logits"], atol=1e-5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=5), st.integers(1, 3))
def test_parts_are_joined_without_gaps(sizes: list[tuple[int, int]], start: int) -> None:
    """As in a loop over the clips; the values of the padding have no effect."""
    embedding = nn.Embedding.from_pretrained(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
    before = torch.arange(start)
    speech = [torch.arange(2.0 * count).reshape(count, 2) + 10 * row for row, (count, _) in enumerate(sizes)]
    after = [torch.arange(count) + 5 * row for row, (_, count) in enumerate(sizes)]
    inputs, lengths = assemble(
        embedding,
        before,
        (pad_sequence(speech, batch_first=True, padding_value=99.0), torch.tensor([len(one) for one in speech])),
        (pad_sequence(after, batch_first=True, padding_value=39), torch.tensor([len(one) for one in after])),
    )
    expected = [
        torch.cat([embedding(before), spoken, embedding(text)]) for spoken, text in zip(speech, after, strict=True)
    ]
    assert lengths.tolist() == [len(one) for one in expected]
    assert torch.equal(inputs, pad_sequence(expected, batch_first=True))


def test_padding_of_speech_tokens_gets_no_gradient() -> None:
    speech = torch.ones(2, 4, 2, requires_grad=True)
    spoken, after = torch.tensor([2, 4]), (torch.tensor([[1], [2]]), torch.tensor([1, 1]))
    inputs, _ = assemble(nn.Embedding(3, 2), torch.tensor([0]), (speech, spoken), after)
    inputs.sum().backward()
    assert speech.grad[..., 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_inputs_have_the_embeddings_precision() -> None:
    embedding = nn.Embedding(3, 2, dtype=torch.bfloat16)
    one = torch.tensor([1])
    inputs, _ = assemble(embedding, one, (torch.ones(1, 1, 2), one), (one[None], one))
    assert inputs.dtype == torch.bfloat16 and inputs.shape == (1, 3, 2)


@pytest.mark.parametrize("words", ["</s>", "<s>", "I said </s> to <unk> them {} </Speech>"])
def test_a_spelled_out_special_token_is_text(prompt: Prompt, words: str) -> None:
    ((*tokens, last),), _ = prompt.answers([words])
    assert last == 2
    assert not {0, 1, 2} & set(tokens)
    assert prompt.tokenizer.decode(tokens).endswith(f"<Transcript> {words}")


def test_long_answers_are_truncated_and_counted(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> None:
    texts = ["No way!", "ba " * 300, ""]
    long, whole = prompt.answers(texts), prompt.answers(texts)[0]
    assert [len(ids) for ids in long[0]] == [len(CASES["st1_a"]["answer_ids"]), 300, len(whole[2])]
    assert long[1] == 1
    assert long[0][1][-1] != 2  # the end token is gone, as in the original
    short, cut = Prompt(tokenizer, max_tokens=20).answers(texts)
    assert short == [ids[:20] for ids in whole] and cut == 3
    assert Prompt(tokenizer, max_tokens=len(whole[0])).answers(texts[:1]) == ([whole[0]], 0)
    assert prompt.answers([]) == ([], 0)


def test_question_is_random_only_in_training(prompt: Prompt) -> None:
    questions = [prompt.question(np.random.default_rng(seed)) for seed in range(20)]
    assert {tuple(ids) for ids in questions} == {tuple(ids) for ids in prompt.after}
    assert questions == [prompt.question(np.random.default_rng(seed)) for seed in range(20)]
    assert prompt.question() == CASES["s2_a"]["after_ids"]


@pytest.mark.parametrize("kind", ["bos", "eos"])
def test_a_tokenizer_without_start_or_end(kind: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(golden.FOLDER / "tokenizer")
    setattr(tokenizer, f"{kind}_token", None)
    with pytest.raises(UserError) as caught:
        Prompt(tokenizer)
    assert_names(str(caught.value), "tokenizer: ", {"bos": "start token", "eos": "end token"}[kind])
