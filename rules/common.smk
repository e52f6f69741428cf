# The checked configuration, and what the rules ask of it. No rules here.

import json
import os
import shlex

from abhinaya import config as configuration
from abhinaya.config import features, paper_runs, runs
from abhinaya.config.base import settings_json
from abhinaya.config.ensemble import Fusion
from abhinaya.config.external import ExternalSystem
from abhinaya.config.system import TrainedSystem
from abhinaya.config.zero_shot import SalmonnZeroShot
from abhinaya.labels import CLASSES
from abhinaya.runtime import gpu_request, slurm_gpu_models, snakemake_sigterm
from abhinaya.runtime.errors import UserError


def call_or_exit(function, *arguments):
    """Call `function`; its errors stop Snakemake with one line each before any job runs."""
    try:
        return function(*arguments)
    except UserError as error:
        sys.exit(f"error: {error}")


call_or_exit(snakemake_sigterm.patch)
SITE, TRAIN_OPTIONS = call_or_exit(
    gpu_request.read, workflow.resource_settings.default_resources
)
if "-" in SITE.gpu_model:
    slurm_gpu_models.patch()
CONFIG = call_or_exit(configuration.validate, config)  # as an object
if CONFIG.transcripts.path and not Path(CONFIG.transcripts.path).is_file():
    sys.exit(
        f"error: `transcripts.path`: no file {CONFIG.transcripts.path}; make it or correct the path"
    )

for name, system in CONFIG.systems.items():
    if isinstance(system, ExternalSystem) and not Path(system.preds).is_file():
        sys.exit(
            f"error: `systems.{name}.preds`: no file {system.preds}; make it or correct the path"
        )

CONDA = f"../envs/{CONFIG.environment}.yaml"
# By run, which is a folder of results: what the configuration gives, and the same with other losses and seeds.
SYSTEMS = runs.systems(CONFIG)
REPORTED = runs.reported(CONFIG)
ENSEMBLES = runs.ensembles(CONFIG)
FUSIONS = [name for name, one in ENSEMBLES.items() if isinstance(one, Fusion)]
VOTES = [name for name in ENSEMBLES if name not in FUSIONS]
SEEDS = runs.seeds(CONFIG)
# The runs of each fold by system or ensemble, and the fold of each run of another fold than that of the corpus.
BY_FOLD = runs.by_fold(CONFIG)
FOLDS = runs.folds(CONFIG)
ANALYSES = (
    "significance",
    "speakers",
    "calibration",
    "reliability",
    "agreement",
    "leave_one_out",
    "oracle",
    "subgroups",
    "worst_errors",
)
FUSION_TABLES = ("steps", "step_comparisons", "class_shares", "step_reliability")
TABLES = paper_runs.tables(CONFIG)
FIGURES = ("figure2",)
TRAINED = [
    name for name, system in SYSTEMS.items() if isinstance(system, TrainedSystem)
]
# Converted from a checkpoint of the authors instead of trained.
CONVERTED = [name for name in TRAINED if SYSTEMS[name].fine_tuned]
# The caches of features by key, and of each run with a frozen encoder what its cache is made from.
FEATURES = features.extractions(CONFIG)
RUN_FEATURES = features.by_run(CONFIG)
# Predictions of other programs.
EXTERNAL = [
    name for name, system in SYSTEMS.items() if isinstance(system, ExternalSystem)
]
ZERO_SHOT = [name for name in SYSTEMS if name not in TRAINED + EXTERNAL]
ZERO_SHOT_SPEECH = [
    name for name in ZERO_SHOT if isinstance(SYSTEMS[name], SalmonnZeroShot)
]
SHARDS = [f"{shard:03}" for shard in range(CONFIG.transcripts.shards)]

# No telemetry from any job, wherever it runs; a setting of the user's own stays.
for line in Path(workflow.basedir, "envs", "settings.env").read_text().splitlines():
    if line and not line.startswith("#"):
        os.environ.setdefault(*line.split("=", 1))

# Scripts are found wherever Snakemake is started (--directory). A prefix replaces Snakemake's own, its strict mode.
SCRIPTS = shlex.quote(str(Path(workflow.basedir, "workflow_scripts")))
shell.prefix(f"set -euo pipefail; scripts={SCRIPTS}; ")


def alternatives(names):
    """A regular expression that matches exactly these names."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    system=alternatives(SYSTEMS),
    ensemble=alternatives(ENSEMBLES),
    name=alternatives([*SYSTEMS, *ENSEMBLES]),
    table=alternatives(TABLES),
    features=alternatives(FEATURES),
    shard="[0-9]+",


def settings_of(section):
    """A section of the configuration as JSON for a script, without keys that do not affect results.

    A function, for Snakemake would take braces in a plain text for wildcards.
    """
    return lambda wildcards: settings_json(getattr(CONFIG, section))


def corpus_tables(wildcards):
    """The label files of the corpus; when one changes, the corpus is prepared again."""
    # prepare_corpus.py reports one that is missing. Snakemake takes braces in a file's name for wildcards: not watched.
    return [
        table
        for table in CONFIG.corpus.label_files
        if Path(table).is_file() and not {*"{}"} & {*table}
    ]


# The manifest and the transcripts are written again whenever their rules run, often with the same content, and are too
# large for Snakemake to compare. So no job depends on their time (`ancient`), but on the digest of what it reads of
# them, a small file that Snakemake does compare. Both are made by checkpoints: after one, Snakemake looks again at
# what is left to do, and drops the jobs whose digest is the same as before.
MANIFEST = "results/corpus/manifest.parquet"
TRANSCRIPTS = "results/corpus/transcripts.parquet"


def digest(part, run=None):
    """The digest of a part of the manifest (see abhinaya.data.corpora.digests) of a run, or of the transcripts."""
    return f"{Path(manifest_of(run)).parent}/digests/{part}.sha256"


def manifest_of(run):
    """The manifest of a run: with the splits of its fold, or that of the corpus."""
    return (
        f"results/corpus/fold{FOLDS[run]}/manifest.parquet"
        if run in FOLDS
        else MANIFEST
    )


def named_run(wildcards):
    """The run that a rule's only wildcard names: a system, an ensemble or either."""
    ((_, run),) = wildcards.items()
    return run


def run_manifest(wildcards):
    """The manifest of the system, ensemble or run that the wildcard names."""
    return manifest_of(named_run(wildcards))


def run_digest(part):
    return lambda wildcards: digest(part, named_run(wildcards))


DIGESTS = (
    "all_audio",
    "used_audio",
    "training",
    "evaluation",
    "manifest",
    "references",
)


# What is transcribed.
TRANSCRIBED = {"all": "all_audio", "used": "used_audio"}[CONFIG.transcripts.utterances]


def system_transcripts(wildcards):
    """The transcripts, for a system that reads them."""
    return [TRANSCRIPTS] if SYSTEMS[wildcards.system].reads_transcripts else []


def system_digests(part):
    """The digest of `part` of the manifest, and that of the transcripts for a system that reads them."""

    def digests(wildcards):
        reads = SYSTEMS[wildcards.system].reads_transcripts
        return [
            digest(part, wildcards.system),
            *([digest("transcripts")] if reads else []),
        ]

    return digests


def system_features(wildcards):
    """The cached features of a system with a frozen encoder: index files and data files."""
    if wildcards.system not in RUN_FEATURES:
        return []
    key = RUN_FEATURES[wildcards.system].key
    return [
        f"results/features/{key}/{shard:03}.{end}"
        for shard in range(FEATURES[key].shards)
        for end in ("parquet", "bin")
    ]


def features_transcripts(wildcards):
    """The transcripts, for an encoder that reads them."""
    reads = FEATURES[wildcards.features].settings.reads_transcripts
    return [TRANSCRIPTS] if reads else []


def features_digests(wildcards):
    """The digest of the audio in a split, and that of the transcripts for an encoder that reads them."""
    reads = FEATURES[wildcards.features].settings.reads_transcripts
    return [digest("used_audio"), *([digest("transcripts")] if reads else [])]


def features_option(wildcards, input):
    indices = [path for path in input.features if path.endswith(".parquet")]
    return f"--features {' '.join(indices)}" if indices else ""


def requested(resources, key, attempt=1):
    """The resources an attempt requests: memory and run time grow with each attempt."""
    if key.endswith("runtime"):
        return resources.minutes(attempt, key)
    return getattr(resources, key) * (attempt if key == "mem_mb" else 1)


def features_resource(key):
    return lambda wildcards, attempt=1: requested(
        FEATURES[wildcards.features].resources, key, attempt
    )


def transcripts_option(wildcards, input):
    return f"--transcripts {input.transcripts}" if input.transcripts else ""


def system_settings(wildcards):
    return settings_json(SYSTEMS[wildcards.system])


def system_resource(key):
    """A resource of the system that the wildcard names."""
    return lambda wildcards, attempt=1: requested(
        SYSTEMS[wildcards.system].resources, key, attempt
    )


def zero_shot_features(wildcards):
    """The cached features of a speech LLM."""
    return system_features(wildcards) if wildcards.system in ZERO_SHOT_SPEECH else []


def zero_shot_options(wildcards, input):
    """The options of a speech LLM or of a text LLM."""
    if wildcards.system in ZERO_SHOT_SPEECH:
        return f"--seed {CONFIG.seed} {features_option(wildcards, input)}"
    return transcripts_option(wildcards, input)


def request_resource(key):
    """How requests are sent to a server; 0 for a speech LLM, which runs in the job itself."""
    return lambda wildcards: getattr(SYSTEMS[wildcards.system].resources, key, 0)


def gpu_resources(resources_of, nodes=1, at_most=None, options=""):
    """The resources by which a job gets its GPUs, as functions of its wildcards.

    `{resources.devices}` is the number of GPUs in a command: Snakemake lowers `gpu` to a machine's limit.

    Args:
        resources_of: the section `resources` of the configuration, by wildcards.
        nodes: of the job; None for the number in that section.
        at_most: GPUs that the job can use.
        options: sbatch options of the job.
    """

    def resource(key):
        def value(wildcards):
            resources = resources_of(wildcards)
            gpus = resources.gpu if at_most is None else min(at_most, resources.gpu)
            count = resources.nodes if nodes is None else nodes
            return SITE.request(gpus, count, options).get(key)

        return value

    return {key: resource(key) for key in gpu_request.KEYS}


def resources_of_system(wildcards):
    return SYSTEMS[wildcards.system].resources


def resources_of_features(wildcards):
    return FEATURES[wildcards.features].resources


def resources_of_transcripts(wildcards):
    return CONFIG.transcripts.resources


def several_nodes(value=None):
    """For a system on several nodes: `value`, or the number of nodes; no such resource for other systems."""

    def resource(wildcards):
        nodes = SYSTEMS[wildcards.system].resources.nodes
        if nodes == 1:
            return None
        return nodes if value is None else value

    return resource


def stage_resource(stage, key):
    """A resource of a section `corpus` or `transcripts`."""
    return lambda wildcards, attempt=1: requested(
        getattr(CONFIG, stage).resources, key, attempt
    )


def transcript_sources(wildcards):
    """The source of the transcripts: shards of WhisperX, the corpus's own, or a user's file."""
    return {
        "whisperx": [f"results/corpus/shards/{shard}.parquet" for shard in SHARDS],
        "corpus": [ancient("results/corpus/references.parquet")],
        "parquet": [CONFIG.transcripts.path],
    }[CONFIG.transcripts.source]


def transcript_digests(wildcards):
    """The coverage of the transcripts and, for imported tables, their content."""
    source = CONFIG.transcripts.source
    return [
        digest(TRANSCRIBED),
        *([digest("references")] if source == "corpus" else []),
    ]


def system_descriptions(wildcards):
    """The description of each system, for the report."""
    return json.dumps(
        {
            name: system.description
            for name, system in SYSTEMS.items()
            if name in REPORTED and system.description
        }
    )


def member_predictions(wildcards):
    return [
        f"results/{member}/preds.csv"
        for member in ENSEMBLES[wildcards.ensemble].members
    ]


def ensemble_setting(key):
    return lambda wildcards: getattr(ENSEMBLES[wildcards.ensemble], key)


def of_ensembles(key):
    """A setting of each vote of the report, in the scripts' syntax."""
    votes = paper_runs.votes(CONFIG)
    return [f"{name}={getattr(vote, key)}" for name, vote in votes.items()]


def table_runs(wildcards):
    return TABLES[wildcards.table]


def table_scores(wildcards):
    return [f"results/{run}/scores.json" for run in TABLES[wildcards.table]]


def table_votes(wildcards):
    """The members of the ensembles in a table, in the script's syntax."""
    return [
        f"{run}={','.join(ENSEMBLES[run].members)}"
        for run in TABLES[wildcards.table]
        if run in VOTES
    ]


def tables_made(names, *kinds):
    return [f"results/tables/{name}.{kind}" for name in names for kind in kinds]


def cv_runs(wildcards=None):
    """The runs of each fold by system or ensemble."""
    if not BY_FOLD:
        raise ValueError(
            "`snakemake cv` needs folds: set corpus.split, such as {by: speaker, folds: 5}, and train a system"
        )
    return BY_FOLD


def cv_manifests(wildcards):
    runs_of_folds, *_ = cv_runs().values()
    return [manifest_of(run) for _, run in sorted(runs_of_folds.items())]


def cv_predictions(wildcards):
    return [
        f"results/{run}/preds.csv"
        for runs_of_folds in cv_runs().values()
        for _, run in sorted(runs_of_folds.items())
    ]


def cv_options(wildcards):
    return " ".join(
        f"--preds {name} "
        + " ".join(
            f"results/{run}/preds.csv" for _, run in sorted(runs_of_folds.items())
        )
        for name, runs_of_folds in cv_runs().items()
    )
