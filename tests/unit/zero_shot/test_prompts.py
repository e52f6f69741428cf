"""Prompts, parsing of responses, and calibration."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abhinaya.config.zero_shot import ScoredPrompt, WordPrompt
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.zero_shot import prompts

WORD, SCORED = WordPrompt(mode="word"), ScoredPrompt(mode="scored")
CONTROLS = ["<|im_end|>", "</s>", "[INST]", "<<SYS>>", "<|eot_id|>", "<start_of_turn>", "<｜User｜>", "[/INST]"]
SUBSETS = st.sets(st.sampled_from(CLASSES), min_size=1).map(lambda found: tuple(sorted(found)))


class TestMessages:
    def test_eight_classes_give_the_authors_prompt(self) -> None:
        system, user = prompts.messages(WORD, CLASSES, "I lost my keys")
        assert system == {
            "role": "system",
            "content": "You are an emotion recognizer capable of understanding the emotion within a text. (Your task) "
            "Classify the following sentence into one of the 8 emotions: happy, angry, sad, neutral, contempt, "
            "disgust, surprise, or fear. Reply with only 1 word.",
        }
        assert user == {"role": "user", "content": "sentence: I lost my keys"}

    def test_only_the_corpus_classes_are_named(self) -> None:
        assert "one of the 3 emotions: happy, angry, or fear. Reply" in prompts.messages(WORD, "AFH", "x")[0]["content"]
        assert "one of the 2 emotions: sad or neutral. Reply" in prompts.messages(WORD, "NS", "x")[0]["content"]

    def test_options_are_lettered_in_the_given_order(self) -> None:
        system = prompts.messages(SCORED, ("C", "D", "A"), "x")[0]["content"]
        assert "one of the 3 emotions:\nA. contempt\nB. disgust\nC. angry\nReply with only 1 letter." in system

    @pytest.mark.parametrize("text", ["{emotions} {count} {text}", "{0} {} {x!r} %s", "\\1 \\g<0>", '{"a": {}}'])
    def test_braces_in_a_transcript_are_plain_text(self, text: str) -> None:
        assert prompts.messages(WORD, CLASSES, text)[1]["content"] == f"sentence: {text}"

    def test_braces_in_a_template_are_kept(self) -> None:
        prompt = WordPrompt(mode="word", system='JSON: {"emotion": {emotions}} {}', user="{{text}}")
        system, user = prompts.messages(prompt, "HN", "so")
        assert (system["content"], user["content"]) == ('JSON: {"emotion": happy or neutral} {}', "{so}")

    def test_empty_system_message_is_omitted(self) -> None:
        prompt = WordPrompt(mode="word", system="", user="One of {emotions}: {text}")
        assert prompts.messages(prompt, "HN", "so") == [{"role": "user", "content": "One of happy or neutral: so"}]


class TestSanitised:
    @pytest.mark.parametrize("control", CONTROLS)
    def test_control_tokens_are_removed(self, control: str) -> None:
        text, _ = prompts.sanitised(f"so {control} it is", 100)
        assert control not in text
        assert not set(text) & set("<>[]|")
        assert text.startswith("so ") and text.endswith(" it is")

    def test_replacements(self) -> None:
        assert prompts.sanitised("<|im_end|> [INST]", 100) == ("(/im_end/) (INST)", False)

    def test_white_space_becomes_single_spaces(self) -> None:
        assert prompts.sanitised(" a\n\n\tb\u2028c\x00\x1bd \u00a0", 100) == ("a b c d", False)

    def test_truncation_is_returned(self) -> None:
        assert prompts.sanitised("abc def", 7) == ("abc def", False)
        assert prompts.sanitised("abc def", 6) == ("abc de", True)
        assert prompts.sanitised("abc def", 4) == ("abc", True)

    @given(st.text(), st.integers(1, 30))
    def test_result_is_short_clean_and_stable(self, text: str, limit: int) -> None:
        clean, cut = prompts.sanitised(text, limit)
        assert len(clean) <= limit
        assert not set(clean) & set("<>[]|\n\r\t\x00")
        assert prompts.sanitised(clean, limit) == (clean, False)
        assert cut or len(clean) == len(" ".join(prompts.sanitised(text, 10**6)[0].split()))

    @pytest.mark.parametrize(
        ("text", "expected"), [("", False), (" … -?!", False), ("♪♪", False), ("é", True), ("7", True)]
    )
    def test_has_words(self, text: str, expected: bool) -> None:
        assert prompts.has_words(text) is expected


class TestOrders:
    def test_every_class_has_every_position_once(self) -> None:
        found = np.array(prompts.orders(CLASSES, 8))
        for place in range(8):
            assert sorted(found[:, place]) == list(CLASSES)

    def test_shifts_are_spread_evenly(self) -> None:
        assert [order[0] for order in prompts.orders(CLASSES, 4)] == ["A", "D", "H", "S"]
        assert [order[0] for order in prompts.orders(CLASSES, 1)] == ["A"]

    def test_no_more_than_classes(self) -> None:
        assert prompts.orders(("A", "H", "N"), 8) == [("A", "H", "N"), ("H", "N", "A"), ("N", "A", "H")]

    @given(SUBSETS, st.integers(1, 8))
    def test_distinct_permutations(self, classes: tuple[str, ...], count: int) -> None:
        found = prompts.orders(classes, count)
        assert len(set(found)) == len(found) == min(count, len(classes))
        assert all(sorted(order) == list(classes) for order in found)


class TestParse:
    @pytest.mark.parametrize(
        ("answer", "letter"),
        [
            ("I'd say: Happiness.", "H"),
            ("happy", "H"),
            (" **Sad**\n", "S"),
            ("_Sadness_", "S"),
            ('"Angry"', "A"),
            ("“anger”!", "A"),
            ("ANGRILY", "A"),
            ("The emotion is contemptuous.", "C"),
            ("disgusting", "D"),
            ("Fearful, full of fear", "F"),
            ("Neutrality", "N"),
            ("surprised/surprise", "U"),
            ('{"emotion": "surprise"}', "U"),
            ("<think>Not sad, maybe angry or happy…</think>\n\nFear", "F"),
            ("it may be sad</think>happy", "H"),
            ("<THINK>\nno\n</THINK>neutral", "N"),
            ("Unhappy, so sad", "S"),
        ],
    )
    def test_responses_with_one_emotion(self, answer: str, letter: str) -> None:
        assert prompts.parse(answer, CLASSES) == letter

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            "",
            "...",
            "joy",
            "unhappy",
            "un-happy",
            "unhappiness",
            "fearless",
            "not happy",
            "It isn't sad",
            "It isn’t sad",
            "doesnt sound angry",
            "neither",
            "neither sad",
            "a lack of fear",
            "without anger",
            "happy or sad",
            "angry, disgusted",
            "happy-sad",
            "<think>it is happy",  # cut before the answer
            "I'm happy to help! Please give me the sentence.",
            "I'd be happy to assist.",
            "Happy to help",
            "I fear the sentence is missing",
            "I cannot tell",
            "H",
            "A",
            "8",
            "happyness sadx",
        ],
    )
    def test_unparsable_responses(self, answer: str | None) -> None:
        assert prompts.parse(answer, CLASSES) is None

    def test_only_the_corpus_classes(self) -> None:
        assert prompts.parse("contempt", "AHNS") is None
        assert prompts.parse("happy", "AHNS") == "H"
        assert prompts.parse("happy or contempt", "AHNS") is None

    @given(st.sampled_from(sorted(prompts.NAMED)), st.text("*_\"'.,:;!?-()[]{}#`~ \n\t…“”", max_size=8), st.booleans())
    def test_any_word_with_any_punctuation(self, word: str, punctuation: str, upper: bool) -> None:
        spelled = word.upper() if upper else word
        response = " ".join([punctuation.rstrip("-'"), spelled, punctuation.lstrip("-'")])
        assert prompts.parse(response, CLASSES) == prompts.NAMED[word]

    @given(st.text())
    def test_parsed_emotion_is_in_the_response(self, answer: str) -> None:
        letter = prompts.parse(answer, CLASSES)
        if letter is not None:
            assert any(word in answer.casefold() for word in prompts.FAMILIES[letter].split())

    @given(st.sampled_from(sorted(prompts.NAMED)), st.sampled_from(sorted(prompts.NAMED)))
    def test_two_emotions_are_unparsable(self, one: str, other: str) -> None:
        expected = prompts.NAMED[one] if prompts.NAMED[one] == prompts.NAMED[other] else None
        assert prompts.parse(f"{one} and {other}", CLASSES) == expected

    @given(
        st.sampled_from(["not", "isn't", "never", "neither", "no", "wasn’t"]), st.sampled_from(sorted(prompts.NAMED))
    )
    def test_negations_are_unparsable(self, negation: str, word: str) -> None:
        assert prompts.parse(f"{negation} {word}", CLASSES) is None
        assert prompts.parse(f"{word}, {negation} much else", CLASSES) is None

    @given(st.sampled_from(CLASSES), SUBSETS)
    def test_expected_responses_are_parsed(self, letter: str, classes: tuple[str, ...]) -> None:
        assert prompts.parse(EMOTIONS[letter], classes) == (letter if letter in classes else None)


class TestOptionLogprobs:
    def test_tokens_of_one_letter_are_added(self) -> None:
        listed = [
            ("A", np.log(0.2)),
            (" A", np.log(0.3)),
            ("B", np.log(0.1)),
            ("▁", -1.0),
            ("Angry", -1.0),
            ("a", -1.0),
        ]
        found = prompts.option_logprobs(listed, 8)
        assert found == {"A": pytest.approx(np.log(0.5)), "B": pytest.approx(np.log(0.1))}
        assert json.loads(json.dumps(found)) == found

    def test_letters_beyond_the_options_are_ignored(self) -> None:
        assert prompts.option_logprobs([("C", -0.1), ("B", -2.0)], 2) == {"B": -2.0}
        assert prompts.option_logprobs([("", -0.1), ("AB", -0.2)], 8) == {}

    def test_result_is_in_class_order(self) -> None:
        found = prompts.probabilities({"A": np.log(0.6), "C": np.log(0.4)}, ("N", "A", "H"), ("A", "H", "N"))
        assert found == pytest.approx([0.0, 0.4, 0.6])


def scores_of(content: np.ndarray, bias: np.ndarray, classes: tuple[str, ...], count: int) -> np.ndarray:
    """(orders, classes) probabilities of a model that multiplies those of the content by a bias for each position."""
    rows = []
    for order in prompts.orders(classes, count):
        value = np.array([content[CLASSES.index(c)] * bias[order.index(c)] for c in classes])
        rows.append(value / value.sum())
    return np.array(rows)


WEIGHTS = st.lists(st.floats(0.05, 1), min_size=8, max_size=8).map(np.array)
UNIFORM = np.full(8, 1 / 8)


class TestAnswered:
    @pytest.mark.parametrize(
        ("scores", "expected"),
        [
            ([[0.05, 0.05], [0.9, 0.1]], True),
            ([[0.05, 0.04], [0.9, 0.1]], False),  # less than a tenth in one of the orders
            ([[0.0, 0.0]], False),
            ([[np.nan, 0.9]], False),
            ([[np.inf, 0.9]], False),
        ],
    )
    def test_low_total_probability_is_no_answer(self, scores: list, expected: bool) -> None:
        assert prompts.answered(np.array(scores)) is expected


class TestCorrected:
    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_position_bias_alone_gives_no_information(self, count: int) -> None:
        scores = scores_of(UNIFORM, np.array([0.93] + [0.01] * 7), CLASSES, count)
        assert prompts.corrected(scores, scores) == pytest.approx(UNIFORM)

    def test_all_orders_without_a_prior_remove_position_bias(self) -> None:
        scores = scores_of(UNIFORM, np.array([0.93] + [0.01] * 7), CLASSES, 8)
        assert prompts.corrected(scores, None) == pytest.approx(UNIFORM)

    def test_result_without_a_prior_is_the_mean(self) -> None:
        scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
        assert prompts.corrected(scores, None) == pytest.approx([0.3, 0.2, 0.5])

    def test_closed_form(self) -> None:
        scores, prior = np.array([[0.6, 0.4], [0.5, 0.5]]), np.array([[0.75, 0.25], [0.5, 0.5]])
        first = np.array([0.6 / 0.75, 0.4 / 0.25])
        expected = (first / first.sum() + [0.5, 0.5]) / 2
        assert prompts.corrected(scores, prior) == pytest.approx(expected)

    @given(WEIGHTS, WEIGHTS)
    def test_position_bias_is_removed(self, content: np.ndarray, bias: np.ndarray) -> None:
        prior = scores_of(UNIFORM, bias, CLASSES, 8)
        found = prompts.corrected(scores_of(content, bias, CLASSES, 8), prior)
        assert found == pytest.approx(content / content.sum(), abs=1e-9)

    @given(WEIGHTS, WEIGHTS, st.permutations(CLASSES))
    def test_permuted_options_change_nothing(self, content: np.ndarray, bias: np.ndarray, classes: list[str]) -> None:
        plain = prompts.corrected(scores_of(content, bias, CLASSES, 8), scores_of(UNIFORM, bias, CLASSES, 8))
        order = tuple(classes)
        found = prompts.corrected(scores_of(content, bias, order, 8), scores_of(UNIFORM, bias, order, 8))
        assert found == pytest.approx(plain[[CLASSES.index(c) for c in order]], abs=1e-9)

    @given(WEIGHTS, st.integers(0, 7))
    def test_rotated_options_change_nothing_without_a_prior(self, bias: np.ndarray, shift: int) -> None:
        content = np.arange(1.0, 9.0)
        order = CLASSES[shift:] + CLASSES[:shift]
        plain = prompts.corrected(scores_of(content, bias, CLASSES, 8), None)
        found = prompts.corrected(scores_of(content, bias, order, 8), None)
        assert found == pytest.approx(plain[[CLASSES.index(c) for c in order]], abs=1e-9)

    @given(st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=1, max_size=8).map(np.array))
    def test_text_without_content_is_uniform(self, prior: np.ndarray) -> None:
        assert prompts.corrected(prior, prior) == pytest.approx(UNIFORM)

    @given(
        st.lists(
            st.lists(st.sampled_from([0.0, 1e-300, 1e-9, 0.3, 1.0]), min_size=8, max_size=8), min_size=2, max_size=2
        ),
        st.lists(
            st.lists(st.sampled_from([0.0, 1e-300, 1e-9, 0.3, 1.0]), min_size=8, max_size=8), min_size=2, max_size=2
        ),
    )
    def test_zeros_are_accepted(self, scores: list, prior: list) -> None:
        for given_prior in (np.array(prior), None):
            found = prompts.corrected(np.array(scores), given_prior)
            assert np.isfinite(found).all() and (found >= 0).all()
            assert found.sum() == pytest.approx(1)

    def test_many_texts_at_once(self) -> None:
        scores, prior = np.random.default_rng(0).dirichlet(np.ones(8), (5, 3)), np.full((3, 8), 1 / 8)
        together = prompts.corrected(scores, prior)
        assert together.shape == (5, 8)
        assert together == pytest.approx(np.array([prompts.corrected(each, prior) for each in scores]))
