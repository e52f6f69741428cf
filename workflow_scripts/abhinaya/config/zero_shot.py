"""The zero-shot sections of `systems`: language models that are asked, not trained (the paper's T1; SALMONN)."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from abhinaya.config.base import Resources, Section
from abhinaya.config.messages import VARIABLE, WrongKey
from abhinaya.config.system import RANDOM, SalmonnEncoder
from abhinaya.labels import CLASSES

# The wording of the authors' T1 script; {count} and {emotions} are the corpus's.
WORD = (
    "You are an emotion recognizer capable of understanding the emotion within a text. (Your task) Classify the "
    "following sentence into one of the {count} emotions: {emotions}. Reply with only 1 word."
)
LETTER = (
    "You are an emotion recognizer capable of understanding the emotion within a text. (Your task) Classify the "
    "following sentence into one of the {count} emotions:\n{options}\nReply with only 1 letter."
)
OWNED_ARGUMENTS = (  # of vLLM's command line; set by the job or by a key of their own
    "model",
    "served_model_name",
    "host",
    "port",
    "api_key",
    "revision",
    "tokenizer_revision",
    "dtype",
    "quantization",
    "max_model_len",
    "gpu_memory_utilization",
    "tensor_parallel_size",
)


OWNED_PARAMETERS = ("messages", "model", "stream", "n", "logprobs", "top_logprobs", "structured_outputs", "seed")


def _check(key: str, template: str, known: tuple[str, ...], demanded: str | None = None) -> None:
    """Tell what `template` lacks, and what would be left in it as it is written."""
    if demanded and demanded not in template:
        raise WrongKey(key, f"has no {demanded}; put it where it belongs")
    for found in re.findall(r"\{\w+\}", template):
        if found not in known:
            raise WrongKey(key, f"{found} is no placeholder of it; choose from {', '.join(known)}")


class WordPrompt(Section):
    """The paper's prompt: the answer is one of the emotions' words."""

    mode: Literal["word"]
    version: str = Field("paper", min_length=1, description="a name for this wording, recorded with the answers")
    system: str = Field(WORD, description="the system message; `{count}` and `{emotions}` are the corpus's emotions")
    user: str = Field("sentence: {text}", description="the user message; `{text}` is the transcript")

    @model_validator(mode="after")
    def _placeholders(self) -> "WordPrompt":
        _check("system", self.system, ("{count}", "{emotions}"))  # no {text}: whoever is transcribed is not trusted
        _check("user", self.user, ("{count}", "{emotions}", "{text}"), demanded="{text}")
        return self


class ScoredPrompt(Section):
    """Multiple choice: one letter is the answer, and the probabilities of all letters are read off."""

    mode: Literal["scored"]
    version: str = Field("letters", min_length=1, description="a name for this wording, recorded with the answers")
    system: str = Field(LETTER, description="the system message; `{options}` are the lettered emotions, a line each")
    user: str = Field("sentence: {text}", description="the user message; `{text}` is the transcript")
    option_permutations: int = Field(
        8,
        ge=1,
        le=8,
        description="cyclic orders of the options that are asked and averaged, against a liking for certain letters",
    )
    calibration_texts: list[str] = Field(
        ["N/A", "...", "unknown"],
        description="texts without content; what the model answers to them is its prior, by which its probabilities "
        "are divided. An empty list: no correction",
    )

    @model_validator(mode="after")
    def _placeholders(self) -> "ScoredPrompt":
        _check("system", self.system, ("{count}", "{emotions}", "{options}"), demanded="{options}")
        _check("user", self.user, ("{count}", "{emotions}", "{options}", "{text}"), demanded="{text}")
        return self


class Server(Section):
    """The vLLM server that the job starts for itself, on as many GPUs as `resources.gpu`."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="arithmetic; auto: the model's"
    )
    quantization: str | None = Field(
        None, min_length=1, description="vLLM's name of a quantisation (`fp8`, `awq`, …); null: as the model is stored"
    )
    max_model_len: int = Field(2048, ge=128, description="tokens of prompt and answer together")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of each GPU's memory that vLLM takes")
    cpu_kv_cache_gb: int = Field(2, ge=1, description="without a GPU: memory for the attention cache, in GB")
    arguments: dict[str, bool | int | float | str] = Field(
        {}, description="further arguments of vLLM's server, with underscores: `{enforce_eager: true}`"
    )

    @model_validator(mode="after")
    def _arguments_free(self) -> "Server":
        for name in self.arguments:
            if not name.isidentifier() or name != name.lower():
                raise WrongKey(f"arguments.{name}", "no argument of vLLM; write it as in `max_num_seqs`")
            if name in OWNED_ARGUMENTS:
                raise WrongKey(f"arguments.{name}", "set by the job itself or by a key of its own; remove it here")
        return self


class Endpoint(Section):
    """A server that is already there and speaks OpenAI's chat completions: vLLM or a hosted model."""

    url: str = Field(description="base address, as in https://api.openai.com/v1")
    key_variable: str | None = Field(
        None,
        pattern=VARIABLE,
        description="environment variable that holds the key; null: no key is sent",
    )
    structured_output: bool = Field(
        False, description="the server is vLLM: ask it to answer with nothing but one of the choices"
    )
    parameters: dict[str, Any] = Field(
        {}, description="further or other fields of each request; null removes one: `{max_tokens: null}`"
    )

    @model_validator(mode="after")
    def _address(self) -> "Endpoint":
        try:
            parts = urlsplit(self.url)
            well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a bracket that is not closed, a port that is none
            well = False
        if not well or not self.url.isprintable() or " " in self.url:  # not shown: there may be a password in it
            raise WrongKey("url", "no http(s) address; write it as in https://api.openai.com/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise WrongKey(
                "url", "holds a user, a password, a query or a fragment; give the key by `key_variable` instead"
            )
        return self

    @model_validator(mode="after")
    def _parameters_free(self) -> "Endpoint":
        for name, value in self.parameters.items():
            if name in OWNED_PARAMETERS and (name, value) != ("seed", None):
                fix = "set it to null or remove it" if name == "seed" else "remove it here"
                raise WrongKey(f"parameters.{name}", f"set by the job itself; {fix}")
        return self


class Labelling(Resources):
    """What a labelling job asks of the machine, and how it sends its requests."""

    concurrency: int = Field(64, ge=1, le=1000, description="requests under way at once")
    request_seconds: int = Field(120, ge=1, description="after this long a request is sent again")
    start_minutes: int = Field(60, ge=1, description="time for our own server to load its model")


class ZeroShotSystem(Section):
    """A language model that labels transcripts without training (the paper's T1)."""

    family: Literal["zero_shot"]
    description: str = Field("", description="a line for the report")
    model: str = Field(
        min_length=1,
        description="for our own server a published name, a local folder or `package:…`; the endpoint's name for it",
    )
    revision: str | None = Field(None, description="commit of a published model; null: the newest")
    prompt: Annotated[WordPrompt | ScoredPrompt, Field(discriminator="mode")] = Field(
        WordPrompt(mode="word"), description="what is asked; `mode` is `word` or `scored`"
    )
    server: Server = Server()
    endpoint: Endpoint | None = Field(None, description="ask this server instead of starting one")
    max_characters: int = Field(2000, ge=1, description="longer transcripts are cut, and counted")
    fallback: Literal[CLASSES] = Field(
        "N", description="label where there is no answer: empty transcript, unparsable or refused; counted"
    )
    resources: Labelling = Labelling()

    @model_validator(mode="after")
    def _one_server(self) -> "ZeroShotSystem":
        if self.endpoint is None:
            if self.model.startswith(RANDOM):
                raise WrongKey("model", "random weights answer nothing; name a model that was trained to follow")
            return self
        if self.revision:
            raise WrongKey("revision", "not used with `endpoint`; remove it")
        if self.server != Server():
            raise WrongKey("server", "not used with `endpoint`; remove one of them")
        if self.resources.gpu:
            raise WrongKey("resources.gpu", f"{self.resources.gpu}, but the `endpoint` computes; set 0")
        return self


class Decoding(Section):
    """How an answer is generated: the likeliest one, never a draw. SALMONN's own, but for the length (200)."""

    beams: int = Field(4, ge=1, description="beams that are searched; 1 is greedy")
    max_new_tokens: int = Field(
        30, ge=1, description="of an answer; one that has not ended by then is cut off, and counts as unparsable"
    )


class SalmonnZeroShot(Section):
    """A speech LLM that hears, and is asked for the emotion without training (the paper's zero-shot SALMONN)."""

    family: Literal["salmonn_zero_shot"]
    description: str = Field("", description="a line for the report")
    encoder: SalmonnEncoder = Field(
        description="the speech LLM, as for `family: salmonn`; without `transcript` and what goes with it"
    )
    question: str = Field(
        "Describe the emotion of the speaker in one word.",
        min_length=1,
        description="what is asked about the clip; the default is SALMONN's own question",
    )
    decoding: Decoding = Decoding()
    batch_size: int = Field(8, ge=1, description="utterances that are asked about together")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    fallback: Literal[CLASSES] = Field("N", description="label where an answer is unparsable; counted")
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _keys_agree(self) -> "SalmonnZeroShot":
        for key in ("transcript", "max_words", "max_text_tokens"):
            if getattr(self.encoder, key) != SalmonnEncoder.model_fields[key].default:
                raise WrongKey(f"encoder.{key}", "a question about speech has no transcript; remove it")
        if self.resources.gpu > 1:
            raise WrongKey("resources.gpu", f"{self.resources.gpu}, but the job computes on one; set 1")
        return self
