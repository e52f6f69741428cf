"""How a job requests its GPUs from SLURM, by the settings of a site, and GPU models with a hyphen."""

from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm import utils
from snakemake_executor_plugin_slurm.partitions import parse_gpu_requirements
from snakemake_interface_common.exceptions import WorkflowError

from abhinaya.runtime import gpu_request, slurm_gpu_models
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.gpu_request import Site

NVIDIA = "nvidia_a100-sxm4-80gb"


@pytest.mark.parametrize(
    ("site", "gpus", "nodes", "wanted"),
    [
        (Site(), 0, 1, {"devices": 0, "gpu": 0}),
        (Site(), 4, 1, {"devices": 4, "gpu": 4}),
        (Site(gpu_model="a100"), 4, 1, {"devices": 4, "gpu": 4, "gpu_model": "a100"}),
        (Site(gpu_model="a100"), 0, 1, {"devices": 0, "gpu": 0}),
        (Site(gpu_request="gres"), 0, 1, {"devices": 0, "gpu": 0}),
        (Site(gpu_request="gres"), 1, 1, {"devices": 1, "gpu": 0, "gres": "gpu:1"}),
        (Site(gpu_request="gres", gpu_model="a100"), 4, 2, {"devices": 8, "gpu": 0, "gres": "gpu:a100:4"}),
        (Site(), 4, 2, {"devices": 8, "gpu": 8, "slurm_extra": "--gpus-per-node=4"}),
        (
            Site(gpu_model="a100", extra="--exclude=n7"),
            4,
            2,
            {"devices": 8, "gpu": 8, "gpu_model": "a100", "slurm_extra": "--gpus-per-node=a100:4 --exclude=n7"},
        ),
        (Site(gpu_constraint="big", cpu_constraint="cpu"), 1, 1, {"devices": 1, "gpu": 1, "constraint": "big"}),
        (Site(gpu_constraint="big", cpu_constraint="cpu"), 0, 1, {"devices": 0, "gpu": 0, "constraint": "cpu"}),
    ],
)
def test_request_of_a_site(site: Site, gpus: int, nodes: int, wanted: dict) -> None:
    assert site.request(gpus, nodes) == wanted


def test_a_jobs_own_options_come_with_those_of_the_site() -> None:
    assert Site(extra="--nice=10").request(1, options="--signal=TERM@120")["slurm_extra"] == (
        "--signal=TERM@120 --nice=10"
    )


def defaults(**values: str) -> dict[str, SimpleNamespace]:
    return {name: SimpleNamespace(raw=repr(value)) for name, value in values.items()}


def test_settings_are_read_from_the_default_resources() -> None:
    others = {"mem_mb": SimpleNamespace(raw="4000 * attempt"), "disk_mb": SimpleNamespace(raw=None)}
    found = others | defaults(site_gpu_request="gres", site_extra="--nice=10", site_train_options="--signal=TERM@9")
    assert gpu_request.read(found) == (Site(gpu_request="gres", extra="--nice=10"), "--signal=TERM@9")
    assert gpu_request.read(None) == (Site(), "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"site_gpu_request": "gpu"}, r"^gpu_request: gpu, must be gpus or gres; correct it in .*slurm/config"),
        ({"site_gpus": "gres"}, r"^default-resources: site_gpus is unknown; remove it"),
    ],
)
def test_wrong_settings_are_reported(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        gpu_request.read(defaults(**settings))


def job(**resources: int | str) -> SimpleNamespace:
    return SimpleNamespace(name="job", resources=slurm_gpu_models._Attributes(resources))


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(utils.set_gres_string, "__wrapped__", utils.set_gres_string)
    for module in (utils, plugin):
        monkeypatch.setattr(module, "set_gres_string", original)


def test_upstream_still_refuses_a_hyphen(unpatched: None) -> None:
    """When this fails, abhinaya/runtime/slurm_gpu_models.py can be removed."""
    with pytest.raises(WorkflowError, match="Invalid GPU model format"):
        plugin.set_gres_string(job(gpu=1, gpu_model=NVIDIA))
    with pytest.raises(WorkflowError, match="Invalid GRES format"):
        plugin.set_gres_string(job(gres=f"gpu:{NVIDIA}:1"))


@pytest.mark.parametrize(
    ("resources", "option"),
    [
        ({"gpu": 2, "gpu_model": NVIDIA}, f" --gpus={NVIDIA}:2"),
        ({"gpu": 0, "gres": f"gpu:{NVIDIA}:2"}, f" --gres=gpu:{NVIDIA}:2"),
        ({"gpu": 2, "gpu_model": "a100"}, " --gpus=a100:2"),
        ({"gpu": 2}, " --gpus=2"),
        ({"gpu": 0}, ""),
    ],
)
def test_hyphens_are_requested_with_the_patch(resources: dict, option: str, unpatched: None) -> None:
    slurm_gpu_models.patch()
    slurm_gpu_models.patch()  # without further effect
    assert plugin.set_gres_string(job(**resources)) == utils.set_gres_string(job(**resources)) == option
    with pytest.raises(WorkflowError):  # other characters are still refused
        plugin.set_gres_string(job(gpu=1, gpu_model="a b"))


def test_the_plugin_counts_the_gpus_of_each_request() -> None:
    """By them it chooses a partition."""
    for site, found in [(Site(), (4, None)), (Site("gres", NVIDIA), (4, NVIDIA)), (Site("gpus", NVIDIA), (4, NVIDIA))]:
        assert parse_gpu_requirements(job(**site.request(4))) == found
