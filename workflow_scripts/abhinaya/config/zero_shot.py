"""The zero-shot systems under `systems`: language models used without training (the paper's T1; SALMONN)."""

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from abhinaya.config.base import Description, Precision, Resources, Section
from abhinaya.config.messages import VARIABLE_PATTERN, WrongKey
from abhinaya.config.system import RANDOM, SalmonnEncoder
from abhinaya.labels import CLASSES

# The prompt of the authors' T1 script; {count} and {emotions} come from the corpus.
TASK = (
    "You are an emotion recognizer capable of understanding the emotion within a text. (Your task) Classify the "
    "following sentence into one of the {count} emotions:"
)
WORD = TASK + " {emotions}. Reply with only 1 word."
LETTER = TASK + "\n{options}\nReply with only 1 letter."
# Set by the job or by separate keys: arguments of vLLM's command line, and fields of a request.
JOB_ARGUMENTS = ("model", "served_model_name", "host", "port", "api_key", "tokenizer_revision", "tensor_parallel_size")
JOB_PARAMETERS = ("messages", "model", "stream", "n", "logprobs", "top_logprobs", "structured_outputs", "seed")


class Prompt(Section):
    """Base class of the prompts."""

    placeholders: ClassVar[tuple[str, ...]] = ("{count}", "{emotions}")  # of the system message, without {text}
    required: ClassVar[tuple[str, ...]] = ()  # in the system message

    @model_validator(mode="after")
    def _placeholders(self) -> "Prompt":
        # {text} only in the user message: transcripts are untrusted.
        known = {"system": self.placeholders, "user": (*self.placeholders, "{text}")}
        required = {"system": self.required, "user": ("{text}",)}
        for key, choice in known.items():
            used = re.findall(r"\{\w+\}", getattr(self, key))
            for placeholder in required[key]:
                if placeholder not in used:
                    raise WrongKey(key, f"placeholder {placeholder} is missing; add it")
            for placeholder in used:
                if placeholder not in choice:
                    raise WrongKey(key, f"unknown placeholder {placeholder}; choose from {', '.join(choice)}")
        return self


class WordPrompt(Prompt):
    """The prompt of the authors' code: the response is the name of an emotion."""

    mode: Literal["word"]
    version: str = Field("paper", min_length=1, description="name of this prompt, recorded with the responses")
    system: str = Field(WORD, description="the system message; `{count}` and `{emotions}` come from the corpus")
    user: str = Field("sentence: {text}", description="the user message; `{text}` is the transcript")


class ScoredPrompt(Prompt):
    """Multiple choice: the response is one letter, and the probabilities of all letters are used."""

    placeholders: ClassVar[tuple[str, ...]] = (*Prompt.placeholders, "{options}")
    required: ClassVar[tuple[str, ...]] = ("{options}",)

    mode: Literal["scored"]
    version: str = Field("letters", min_length=1, description="name of this prompt, recorded with the responses")
    system: str = Field(
        LETTER, description="the system message; `{options}` is the list of lettered emotions, one per line"
    )
    user: str = Field("sentence: {text}", description="the user message; `{text}` is the transcript")
    option_permutations: int = Field(
        8,
        ge=1,
        le=8,
        description="number of cyclic permutations of the options that are averaged, to reduce position bias",
    )
    calibration_texts: list[str] = Field(
        ["N/A", "...", "unknown"],
        description="content-free texts that estimate the model's prior, by which the probabilities are divided; "
        "empty: no calibration",
    )


class Server(Section):
    """The vLLM server that the job starts, on `resources.gpu` GPUs."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="data type of the computation; auto: the model's"
    )
    quantization: str | None = Field(
        None, min_length=1, description="vLLM's quantization method (`fp8`, `awq`, …); null: as stored"
    )
    max_model_len: int = Field(2048, ge=128, description="maximum tokens of prompt and response")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of each GPU's memory used by vLLM")
    cpu_kv_cache_gb: int = Field(2, ge=1, description="without GPU: size of the KV cache in GB")
    arguments: dict[str, bool | int | float | str] = Field(
        {}, description="additional arguments of vLLM's server, with underscores: `{enforce_eager: true}`"
    )

    @model_validator(mode="after")
    def _arguments_free(self) -> "Server":
        for name in self.arguments:
            if not name.isidentifier() or name != name.lower():
                raise WrongKey(f"arguments.{name}", "not an argument of vLLM; use underscores, like `max_num_seqs`")
            if name in (*JOB_ARGUMENTS, "revision", *Server.model_fields):
                raise WrongKey(f"arguments.{name}", "set by the job or by a separate key; remove it")
        return self


class Endpoint(Section):
    """An existing server with OpenAI's chat completions API: vLLM or a hosted model."""

    url: str = Field(description="base URL, such as https://api.openai.com/v1")
    key_variable: str | None = Field(
        None,
        pattern=VARIABLE_PATTERN,
        description="environment variable that contains the API key; null: no key is sent",
    )
    structured_output: bool = Field(False, description="the server is vLLM: restrict responses to the choices")
    parameters: dict[str, Any] = Field(
        {}, description="fields to add to each request or to override; null removes one: `{max_tokens: null}`"
    )

    @model_validator(mode="after")
    def _address(self) -> "Endpoint":
        try:
            parts = urlsplit(self.url)
            is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # such as an unclosed bracket or an invalid port
            is_valid = False
        # The messages do not quote the URL, which may contain a password.
        if not is_valid or not self.url.isprintable() or " " in self.url:
            raise WrongKey("url", "not a valid http(s) URL; write it like https://api.openai.com/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise WrongKey("url", "contains a user, password, query or fragment; give the API key by `key_variable`")
        return self

    @model_validator(mode="after")
    def _parameters_free(self) -> "Endpoint":
        for name, value in self.parameters.items():
            if name in JOB_PARAMETERS and (name, value) != ("seed", None):
                fix = "set it to null or remove it" if name == "seed" else "remove it"
                raise WrongKey(f"parameters.{name}", f"set by the job; {fix}")
        return self


class Labelling(Resources):
    """Resources of a labelling job, and how it sends requests."""

    concurrency: int = Field(64, ge=1, le=1000, description="concurrent requests")
    request_seconds: int = Field(120, ge=1, description="timeout of a request, after which it is sent again")
    start_minutes: int = Field(60, ge=1, description="timeout for the server to load its model, once it is downloaded")


class ZeroShotSystem(Section):
    """A zero-shot text LLM on the transcripts (the paper's T1)."""

    family: Literal["zero_shot"]
    description: Description = ""
    model: str = Field(
        min_length=1,
        description="a published name, a local folder or `package:…`; with `endpoint`: the server's name of the model",
    )
    revision: str | None = Field(None, description="commit of a published model; null: the latest")
    prompt: Annotated[WordPrompt | ScoredPrompt, Field(discriminator="mode")] = Field(
        WordPrompt(mode="word"), description="the prompt; `mode` is `word` or `scored`"
    )
    server: Server = Server()
    endpoint: Endpoint | None = Field(None, description="use this server instead of starting one")
    max_characters: int = Field(2000, ge=1, description="longer transcripts are truncated and counted")
    fallback: Literal[CLASSES] = Field(
        "N", description="label for empty transcripts and for unparsable or refused responses, which are counted"
    )
    resources: Labelling = Labelling()

    reads_transcripts: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_server(self) -> "ZeroShotSystem":
        if self.endpoint is None:
            if self.model.startswith(RANDOM):
                raise WrongKey("model", "random weights cannot be used; use an instruction-tuned model")
            return self
        if self.revision:
            raise WrongKey("revision", "not used with `endpoint`; remove it")
        if self.server != Server():
            raise WrongKey("server", "not used with `endpoint`; remove one of them")
        if self.resources.gpu:
            raise WrongKey("resources.gpu", f"{self.resources.gpu}, but no GPU is used with `endpoint`; set 0")
        return self


class Decoding(Section):
    """Decoding without sampling; SALMONN's settings except for the length (200)."""

    beams: int = Field(4, ge=1, description="beam size; 1 is greedy decoding")
    max_new_tokens: int = Field(30, ge=1, description="maximum length of a response; longer ones count as unparsable")


class SalmonnZeroShot(Section):
    """A zero-shot speech LLM (the paper's zero-shot SALMONN)."""

    family: Literal["salmonn_zero_shot"]
    description: Description = ""
    encoder: SalmonnEncoder = Field(
        description="the speech LLM, as for `family: salmonn`; without the keys for transcripts"
    )
    question: str = Field(
        "Describe the emotion of the speaker in one word.",
        min_length=1,
        description="question about the clip; the default is SALMONN's own",
    )
    decoding: Decoding = Decoding()
    batch_size: int = Field(8, ge=1, description="utterances per batch")
    precision: Precision = "auto"
    fallback: Literal[CLASSES] = Field("N", description="label for unparsable responses, which are counted")
    resources: Resources = Resources()

    reads_transcripts: ClassVar[bool] = False

    @model_validator(mode="after")
    def _keys_agree(self) -> "SalmonnZeroShot":
        for key in ("transcript", "max_words", "max_text_tokens"):
            if getattr(self.encoder, key) != SalmonnEncoder.model_fields[key].default:
                raise WrongKey(f"encoder.{key}", "transcripts are not used with `family: salmonn_zero_shot`; remove it")
        if self.resources.gpu > 1:
            raise WrongKey("resources.gpu", f"{self.resources.gpu}, but the job uses a single GPU; set 1")
        return self
