"""A fusion: how it is fitted, applied, stored as JSON and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation.fusion import linear, prior
from abhinaya.evaluation.fusion.calibration import fit_temperature, fit_vector_scaling
from abhinaya.evaluation.fusion.sample import Sample, log_probabilities, log_softmax
from abhinaya.evaluation.metrics import first_error
from abhinaya.labels import CLASSES, INDEX
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import read_json

Rule = Literal["mean", "log_mean", "weighted", "stacking"]
Calibration = Literal["none", "temperature", "vector"]
Numbers = list[Annotated[float, Field(allow_inf_nan=False)]]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Method:
    """What is fitted: the rule, and what is done to each member before."""

    rule: Rule
    calibration: Calibration = "temperature"
    prior_correction: bool = False

    @property
    def is_fitted(self) -> bool:
        return self.rule in ("weighted", "stacking") or self.calibration != "none" or self.prior_correction


class Strict(BaseModel):
    """A part of a fitted fusion's JSON."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MemberCalibration(Strict):
    """``softmax(scale · log p + bias)``, then `prior.corrected`; one number a class, and tau 0 for no correction."""

    scale: Numbers
    bias: Numbers
    prior: list[Positive]
    tau: Annotated[float, Field(ge=0)]

    def apply(self, logs: np.ndarray) -> np.ndarray:
        """Calibrated log-probabilities of (utterances, classes) ones."""
        calibrated = log_softmax(np.array(self.scale) * logs + np.array(self.bias))
        return prior.corrected(calibrated, np.array(self.prior), self.tau)


class Fitted(Strict):
    """A fitted rule: the members' calibration, and how they are combined.

    `mean` and `log_mean` pool the members and divide the logarithm by `temperature`. `weighted` (one coefficient a
    member) and `stacking` (coefficients of `linear.fit_stacking`) have a `bias` and the chosen `penalty`.
    """

    rule: Rule
    calibration: list[MemberCalibration]
    temperature: Positive = 1.0
    weights: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    coefficients: list[list[Numbers]] | None = None
    bias: Numbers | None = None
    penalty: Positive | None = None

    def apply(self, logs: np.ndarray) -> np.ndarray:
        """Fused log-probabilities (utterances, classes) of the members' (utterances, members, classes)."""
        logs = np.stack([one.apply(logs[:, place]) for place, one in enumerate(self.calibration)], axis=1)
        if self.rule == "mean":
            return log_softmax(np.log(np.exp(logs).mean(axis=1)) / self.temperature)
        if self.rule == "log_mean":
            return log_softmax(logs.mean(axis=1) / self.temperature)
        coefficients = self.weights if self.rule == "weighted" else self.coefficients
        return linear.combine(np.array(coefficients), np.array(self.bias))(logs)


class FittedFusion(Strict):
    """`ensemble.json` of a fusion: all that is needed to fuse the members' predictions of new audio.

    Args:
        members: names, in the order of `fitted.calibration`.
        classes: letters; the others get probability 0.
        fitted_on: the number of utterances by split, empty for a rule without parameters.
        absent: the classes without an utterance in `fitted_on`.
        folds_by: what is kept in one fold of cross-fitting and cross-validation, ``speaker`` or ``utterance``.
    """

    rule: Rule
    members: Annotated[list[str], Field(min_length=1)]
    classes: Annotated[list[Literal[CLASSES]], Field(min_length=2)]
    fitted_on: dict[str, int] = {}
    absent: list[str] = []
    folds_by: Literal["speaker", "utterance"] | None = None
    fitted: Fitted

    @model_validator(mode="after")
    def _shapes_agree(self) -> "FittedFusion":
        size, count, fitted = len(self.classes), len(self.members), self.fitted
        arrays = [(fitted.calibration, (count,))]
        for one in fitted.calibration:
            arrays += [(one.scale, (size,)), (one.bias, (size,)), (one.prior, (size,))]
        if self.rule == "weighted":
            arrays += [(fitted.weights, (count,)), (fitted.bias, (size,))]
        if self.rule == "stacking":
            arrays += [(fitted.coefficients, (size, count, size)), (fitted.bias, (size,))]
        if self.rule != fitted.rule or any(_shape(values) != shape for values, shape in arrays):
            raise ValueError(f"the numbers do not fit {count} members and {size} classes")
        return self

    def fuse(self, members: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """Fused predictions (columns `schemas.PREDICTIONS`) of those of the members, by name, with index `FileName`."""
        first = members[self.members[0]]
        tables = [members[name].loc[first.index] for name in self.members]
        return as_predictions(self.fitted.apply(log_probabilities(tables, self.classes)), first, self.classes)


def fit(method: Method, sample: Sample, seed: int) -> Fitted:
    """Calibrate each member of `sample`, correct its prior if asked, and fit the rule on the result."""
    calibration = [_calibrate(method, sample, place, seed) for place in range(sample.logs.shape[1])]
    logs = np.stack([one.apply(sample.logs[:, place]) for place, one in enumerate(calibration)], axis=1)
    calibrated = Sample(logs, sample.truth, sample.groups)
    match method.rule:
        case "mean" | "log_mean":
            return Fitted(rule=method.rule, calibration=calibration, temperature=_pooled(method, calibrated))
        case "weighted":
            penalty = linear.choose_penalty(linear.fit_weights, calibrated, seed)
            weights, bias = linear.fit_weights(calibrated, penalty)
            values = {"weights": weights.tolist(), "bias": bias.tolist(), "penalty": penalty}
        case "stacking":
            penalty = linear.choose_penalty(linear.fit_stacking, calibrated, seed)
            coefficients, bias = linear.fit_stacking(calibrated, penalty)
            values = {"coefficients": coefficients.tolist(), "bias": bias.tolist(), "penalty": penalty}
    return Fitted(rule=method.rule, calibration=calibration, **values)


def unfitted(rule: Literal["mean", "log_mean"], members: int, classes: int) -> Fitted:
    """The mean or log-mean of the members as they are."""
    neutral = MemberCalibration(scale=[1.0] * classes, bias=[0.0] * classes, prior=[1 / classes] * classes, tau=0.0)
    return Fitted(rule=rule, calibration=[neutral] * members)


def as_predictions(logs: np.ndarray, like: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """A table of predictions of the utterances of `like` (index `FileName`, column `Split`).

    Args:
        logs: (utterances, classes) log-probabilities of `classes`; other classes get probability 0.
    """
    probabilities = np.zeros((len(like), len(CLASSES)))
    probabilities[:, [INDEX[letter] for letter in classes]] = np.exp(logs)
    labels = np.array(classes)[logs.argmax(axis=1)]
    table = pd.DataFrame(probabilities, columns=list(PROBABILITIES), index=like.index)
    return pd.concat([like[["Split"]].assign(EmoClass=labels), table], axis=1).rename_axis(KEY).reset_index()


def read(path: str | Path) -> FittedFusion:
    """Read the `ensemble.json` of a fusion.

    Raises:
        UserError: the file is missing or invalid.
    """
    try:
        return FittedFusion.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error)}; fit the fusion again") from None


def _calibrate(method: Method, sample: Sample, place: int, seed: int) -> MemberCalibration:
    """The calibration of the member at `place`."""
    logs, classes = sample.logs[:, place], sample.logs.shape[2]
    scale, bias = np.ones(classes), np.zeros(classes)
    if method.calibration == "temperature":
        scale /= fit_temperature(logs, sample.truth, sample.weights)
    elif method.calibration == "vector":
        scale, bias = fit_vector_scaling(logs, sample.truth, sample.weights, sample.effective_size)
    calibrated = log_softmax(scale * logs + bias)
    own = prior.effective_prior(calibrated, sample.weights)
    tau = prior.fit_tau(sample, calibrated, seed) if method.prior_correction else 0.0
    return MemberCalibration(scale=scale.tolist(), bias=bias.tolist(), prior=own.tolist(), tau=tau)


def _pooled(method: Method, sample: Sample) -> float:
    """The temperature of the pooled members (Rahaman & Thiery 2021, arXiv 2007.08792); 1 without calibration."""
    if method.calibration == "none":
        return 1.0
    pooled = np.log(np.exp(sample.logs).mean(axis=1)) if method.rule == "mean" else sample.logs.mean(axis=1)
    return fit_temperature(pooled, sample.truth, sample.weights)


def _shape(values: Sequence | None) -> tuple[int, ...] | None:
    """The shape of nested lists; None if they are ragged or missing."""
    if values is None:
        return None
    try:
        return np.array(values, dtype=object if values and isinstance(values[0], BaseModel) else float).shape
    except ValueError:
        return None
