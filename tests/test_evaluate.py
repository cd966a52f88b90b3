"""Held-out questions: what they are, what a right answer is, and what a model says to them."""

import json
import os
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen_models import save_qwen
from train_data import make_rows, read_rows, smoke, write_rows
from typer.testing import CliRunner

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.cli.main import app
from gdo.demo.make import make_example_pool
from gdo.errors import GdoError, UsageError
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors.select import select
from gdo.train.evaluate.grade import normal_form, same_answer
from gdo.train.evaluate.options import make_choice, options_in, options_of
from gdo.train.evaluate.questions import name_of, parse_held_out, read_questions
from gdo.train.evaluate.results import read_results
from gdo.train.evaluate.run import evaluate
from gdo.train.sources import Data

LIST = "Where does it go?\nA. left\nB. right\nC) up\nAnswer with the option's letter."


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("The answer is: Two.", "2"),
        ("  a RED ball ", "The red ball."),
        ("1,000", "1000"),
        ("3.0", "three"),
        ("-0.50", "-0.5"),
        ("don't", "dont"),
        ("Therefore, the final answer is (B)", "b"),
        ("Answer: left", "left"),
        ("The", "the"),
        ("007", "7"),
    ],
)
def test_these_say_the_same(said: str, answer: str) -> None:
    assert same_answer(said, answer)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("", ""),
        ("!", "?"),
        ("left", "right"),
        ("10", "1"),
        ("1.5", "15"),
        ("-3", "3"),
        ("red", "red ball"),
        ("1,00", "100"),
    ],
)
def test_these_do_not(said: str, answer: str) -> None:
    assert not same_answer(said, answer)


@given(st.text(max_size=30))
def test_the_normal_form_is_its_own(text: str) -> None:
    form = normal_form(text)
    assert normal_form(form) == form or "answer" in form or "option" in form or "choice" in form


def test_options_are_read_from_lines_and_fields() -> None:
    assert options_in(LIST) == ("left", "right", "up")
    assert options_in("Is it A. or\nB. this") == ()
    assert options_in("Q\n(A) x\n(B) y\n(D) z") == ("x", "y")
    assert options_in("Q\nA. alone") == ()
    assert options_of(["A. x", "B. y"]) == ("x", "y")
    assert options_of(["A. x", "y"]) == ("A. x", "y")
    assert options_of({"B": "y", "A": "x"}) == ("x", "y")
    with pytest.raises(GdoError, match="not a list of 2 to 26 texts"):
        options_of("A. x")


@pytest.mark.parametrize(
    ("answer", "texts", "right", "asks_letter"),
    [
        ("B", ("A", "B", "C"), 1, True),
        ("(C)", ("(A)", "(B)", "(C)"), 2, True),
        ("The answer is B.", ("A.", "B.", "C."), 1, True),
        ("A. left", ("A. left", "B. right", "C. up"), 0, True),
        ("(B) Right!", ("(A) left", "(B) right", "(C) up"), 1, True),
        ("The right", ("left", "right", "up"), 1, False),
    ],
)
def test_options_take_the_form_of_the_answer(
    answer: str, texts: tuple[str, ...], right: int, asks_letter: bool
) -> None:
    choice = make_choice(answer, ("left", "right", "up"))
    assert (choice.texts, choice.right, choice.asks_letter) == (texts, right, asks_letter)


def test_an_answer_that_is_no_option_is_refused() -> None:
    with pytest.raises(GdoError, match="answer 'D' is none of its options"):
        make_choice("D", ("left", "right"))
    with pytest.raises(GdoError, match="more than one"):
        make_choice("left", ("left", "Left."))


def row(uid: str, question: str, answer: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": uid, "messages": messages, **more}


def test_rows_become_questions(tmp_path: Path) -> None:
    turns = [("human", "<image>\nWhat?"), ("gpt", "A dog"), ("human", LIST), ("gpt", "B")]
    file = write_rows(
        tmp_path / "mvbench.jsonl",
        [
            row("plain", "<image>" + LIST, "C", images=["x.png"], kind="direction", data_source="s"),
            row("listed", "Where?", "B", options=["left", "right"]),
            row("texts", "Where?", "right", options=["left", "right"], data_source="s"),
            row("wrong", LIST, "nowhere"),
            {
                "id": "many",
                "images": ["x.png"],
                "conversations": [{"from": who, "value": text} for who, text in turns],
            },
        ],
    )
    data = parse_held_out(str(file))
    plain, shown, texts, wrong, first, second = read_questions(data)
    assert name_of(data) == "mvbench"
    assert (plain.kind, plain.media[0].paths) == ("direction", (str(tmp_path / "x.png"),))
    assert plain.text == LIST
    assert shown.text == "Where?\nA. left\nB. right"
    assert (texts.text, texts.kind, texts.choice and texts.choice.texts) == ("Where?", "s", ("left", "right"))
    assert wrong.error == "its answer 'nowhere' is none of its options"
    assert (first.qa_uid, second.qa_uid, second.kind) == ("many::t0", "many::t1", "unknown")
    assert second.history == (("What?", "A dog"),)
    assert second.media == first.media
    assert [question.kind for question in read_questions(data, "id")][:2] == ["plain", "listed"]
    with pytest.raises(UsageError, match="--kind data_source: row listed has no such field"):
        read_questions(data, "data_source")


def test_questions_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    twice = write_rows(tmp_path / "twice.jsonl", [row("a", "x", "y")] * 2)
    with pytest.raises(GdoError, match="two questions have the id a"):
        read_questions(Data(twice))
    system = row("a", "x", "y")
    system["messages"].insert(0, {"role": "system", "content": "z"})
    with pytest.raises(GdoError, match="row a: held-out rows are questions and answers"):
        read_questions(Data(write_rows(tmp_path / "system.jsonl", [system])))
    with pytest.raises(UsageError, match=r"there is no file .*gone.*POOL:SUBSET"):
        parse_held_out(str(tmp_path / "gone"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions, free ones and such with letters or texts as options; one picture is missing."""
    file = make_rows(tmp_path_factory.mktemp("held_out"), 12)
    rows = read_rows(file)
    for number, one in enumerate(rows):
        if number % 2:
            one["messages"][0]["content"] += "\nA. red\nB. left\nC. three of them"
            one["messages"][1]["content"] = "ABC"[number % 3] if number % 4 == 1 else "three of them"
        one["kind"] = "choice" if number % 2 else "free"
        one["id"] = f"h{number}"
    rows[4]["images"] = ["gone.png"]
    return write_rows(file.with_name("probe.jsonl"), rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A run that learns what the held-out free questions ask."""
    folder = tmp_path_factory.mktemp("run")
    rows = make_rows(folder / "rows", 12)
    write_rows(rows, read_rows(rows)[::2])
    smoke(rows, folder / "run", model, "epochs=12", "lr=0.003")
    return folder / "run"


@pytest.mark.slow
def test_every_checkpoint_is_asked(run: Path, held_out: Path) -> None:
    report = evaluate(run, str(held_out), device="cpu")
    summary, table = read_results(run, "probe")
    assert [(one.step, one.samples) for one in report.checkpoints] == [(12, 36), (24, 72)]
    assert summary["of"]["run"] == str(run)
    assert (report.questions, report.trained_on, len(table)) == (12, 0, 24)
    assert (report.pool, report.not_kept) == (None, None)  # trained from files
    last = report.checkpoints[-1]
    assert (last.all.errors, last.kinds["free"].questions, last.kinds["free"].errors) == (1, 6, 1)
    losses = [one.kinds["free"].loss for one in report.checkpoints]
    assert losses[1] < losses[0]  # type: ignore[operator]
    assert last.kinds["free"].accuracy >= 0.6  # type: ignore[operator]
    assert last.all.accuracy == last.all.correct / 11
    broken = table.filter(pl.col("qa_uid") == "h4").row(0, named=True)
    assert (broken["correct"], broken["said"]) == (None, None)
    assert "gone.png: no such file" in broken["error"]
    assert report.errors == [("h4", broken["error"])]
    assert table.filter(pl.col("qa_uid") != "h4")["loss"].null_count() == 0


@pytest.mark.slow
def test_answers_are_those_of_plain_transformers(model: Path, held_out: Path, tmp_path: Path) -> None:
    """Losses of every option and greedy answers, each alone through processor, model and generate."""
    evaluate(model, str(held_out), output=tmp_path, recipe="smoke", device="cpu")
    _, table = read_results(tmp_path, "probe")
    from gdo.descriptors.probe.chat import show_media
    from gdo.descriptors.probe.contract import Asked, ProbeCard, ProbeSettings
    from gdo.descriptors.probe.load import make_probe
    from gdo.descriptors.probe.plain import TEXT_ONLY, inputs_of, plain_loss
    from gdo.pool.media import read_frames
    from gdo.train.checkpoints import load_checkpoint
    from gdo.train.recipe import load_recipe

    loaded, processor = load_checkpoint(model)
    settings = ProbeSettings(budget=load_recipe("smoke").budget)
    probe = make_probe(ProbeCard("m", "", "", "float32", settings), processor, loaded)
    told = {one["qa_uid"]: one for one in table.iter_rows(named=True)}
    assert len(told) == 12
    for question in read_questions(Data(held_out)):
        have = told[question.qa_uid]
        if have["error"]:
            continue
        frames = [read_frames(medium.kind, medium.paths, settings.budget) for medium in question.media]
        shown = show_media(frames, settings) if frames else TEXT_ONLY
        if question.choice:
            losses = [
                plain_loss(probe.forest, probe.chat, Asked("", question.text, text), shown)
                for text in question.choice.texts
            ]
            assert have["loss"] == pytest.approx(losses[question.choice.right], rel=1e-4)
            assert have["said"] == question.choice.texts[losses.index(min(losses))]
            assert have["correct"] == (have["said"] == have["answer"])
        else:
            prompt = probe.chat.texts(Asked("", question.text, ""), shown.parts)[0]
            inputs = inputs_of(probe.forest, probe.chat, prompt, shown)
            made = loaded.generate(**inputs, do_sample=False, max_new_tokens=32, eos_token_id=probe.ends)
            text = processor.tokenizer.decode(
                made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            assert have["said"] == text.strip()


@pytest.mark.slow
def test_a_model_that_takes_no_trees_says_the_same(
    model: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gdo.train.evaluate import answers

    real = answers.make_probe
    tables = []
    for shares in (True, False):

        def made(*arguments: Any, shares: bool = shares) -> Any:
            probe = real(*arguments)
            assert probe.shares
            probe.shares = shares
            return probe

        monkeypatch.setattr(answers, "make_probe", made)
        evaluate(model, str(held_out), output=tmp_path / str(shares), recipe="smoke", device="cpu")
        tables.append(read_results(tmp_path / str(shares), "probe")[1])
    assert tables[0].drop("loss").equals(tables[1].drop("loss"))
    losses = [table["loss"].drop_nulls().to_list() for table in tables]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_what_was_asked_is_not_asked_again(
    run: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gdo.train.evaluate import run as module

    real, asked = module._ask, []

    def counted(checkpoint: Any, *rest: Any) -> pl.DataFrame:
        asked.append(checkpoint.step)
        return real(checkpoint, *rest)

    monkeypatch.setattr(module, "_ask", counted)
    options = {"device": "cpu", "output": tmp_path, "name": "again"}
    last = evaluate(run, str(held_out), checkpoints="last", **options)
    assert [one.step for one in last.checkpoints] == [24]
    every = evaluate(run, str(held_out), **options)
    assert [one.step for one in every.checkpoints] == [12, 24]
    assert every.checkpoints[-1] == last.checkpoints[-1]
    evaluate(run, str(held_out), **options)
    assert asked == [24, 12]
    other = write_rows(held_out.with_name("other.jsonl"), read_rows(held_out)[:3])
    with pytest.raises(UsageError, match=r"another evaluation: held_out, questions differ.*--name"):
        evaluate(run, str(other), **options)


def test_wrong_use_is_told(tmp_path: Path, held_out: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="--name a/b: it becomes a file's name"):
        evaluate(model, str(held_out), output=tmp_path, name="a/b")
    with pytest.raises(UsageError, match="give -o DIR for the results of a model"):
        evaluate(model, str(held_out))
    with pytest.raises(UsageError, match="all or last, not some"):
        evaluate(model, str(held_out), checkpoints="some")  # type: ignore[arg-type]
    with pytest.raises(GdoError, match="nothing cannot be loaded"):
        evaluate(tmp_path / "nothing", str(held_out), output=tmp_path, device="cpu")
    (tmp_path / "run.json").write_bytes(orjson.dumps({}))
    with pytest.raises(UsageError, match="a run without a checkpoint"):
        evaluate(tmp_path, str(held_out))
    with pytest.raises(UsageError, match="has no evaluation 'x', it has none"):
        read_results(tmp_path, "x")
    assert json.loads((tmp_path / "run.json").read_text()) == {}


@pytest.mark.slow
def test_a_subset_of_a_pool_is_asked_by_a_column(model: Path, tmp_path: Path) -> None:
    made = make_example_pool(tmp_path / "files", samples=60, workers=1)
    pool = tmp_path / "pool.duckdb"
    ingest(pool, made.files, media_root=made.media_root, workers=1)
    select(pool, "diverse", count=6)
    arguments = ["evaluate", str(model), "--on", f"{pool}:diverse", "-o", str(tmp_path), "--recipe", "smoke"]
    done = CliRunner().invoke(app, [*arguments, "--kind", "bucket", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    _, table = read_results(tmp_path, "diverse")
    with Pool(pool).read() as connection:
        members = connection.execute(
            "SELECT qa_uid, bucket FROM sample JOIN subset_sample USING (qa_uid) WHERE role = 'chosen'"
        ).fetchall()
    assert sorted(table.select("qa_uid", "kind").iter_rows()) == sorted(members)
    assert set(told["checkpoints"][0]["kinds"]) == {bucket for _, bucket in members}
    assert told["checkpoints"][0]["all"]["errors"] == 0
    kept = in_pool(pool)
    assert kept["answers"] == sorted(table.select("qa_uid", "kind", "said", "correct").rows())
    scores = {kind: (of["questions"], of["accuracy"]) for kind, of in told["checkpoints"][0]["kinds"].items()}
    assert kept["kinds"] == scores
    assert kept["checkpoints"] == [
        ("diverse", str(model), 0, 0, None, "gdo", 6, told["checkpoints"][0]["all"]["accuracy"])
    ]
    evaluate(model, f"{pool}:diverse", output=tmp_path, recipe="smoke", kind="bucket", device="cpu")
    assert in_pool(pool) == kept
    with pytest.raises(UsageError, match="--kind colour: the pool's candidates have no such column"):
        read_questions(Data(pool, "diverse"), "colour")
    with pytest.raises(UsageError, match="there is no subset none"):
        read_questions(parse_held_out(f"{pool}:none"))


@pytest.mark.slow
def test_results_of_a_file_go_into_the_pool_that_the_run_was_trained_from(
    model: Path, held_out: Path, tmp_path: Path
) -> None:
    made = make_example_pool(tmp_path / "files", samples=60, workers=1)
    pool, other = tmp_path / "pool.duckdb", tmp_path / "other.duckdb"
    ingest(pool, made.files, media_root=made.media_root, workers=1)
    select(pool, "diverse", count=2)
    run = tmp_path / "run"
    smoke(Data(pool, "diverse"), run, model, "epochs=1", "frames=2")
    with Pool(other, create=True).write():
        pass

    def asked(*more: str) -> tuple[str, dict[str, Any]]:
        arguments = ["evaluate", str(run), "--on", str(held_out), "--device", "cpu", *more]
        shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "500"})
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert (shown.exit_code, done.exit_code) == (0, 0), shown.output + done.output
        return shown.stdout, json.loads(done.stdout)

    shown, told = asked("--pool", str(other))
    assert f"evaluation_answer of {other}" in shown
    assert (told["pool"], len(in_pool(other)["answers"]), in_pool(pool)["answers"]) == (str(other), 12, [])
    shown, told = asked()
    assert f"evaluation_answer of {pool}" in shown
    assert (told["pool"], in_pool(pool)) == (str(pool), in_pool(other))
    pool.write_bytes(b"no database")
    shown, told = asked()
    assert "Not in the run's pool" in shown
    assert (told["pool"], told["not_kept"].startswith(f"{pool} cannot be opened")) == (None, True)
    pool.unlink()
    shown, told = asked()
    assert "pool" not in shown.replace(str(tmp_path), "")
    assert (told["pool"], told["not_kept"]) == (None, None)


def in_pool(pool: Path) -> dict[str, Any]:
    """What a pool keeps of evaluations, times aside."""
    with Pool(pool).read() as connection:

        def ask(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        columns = "evaluation, target, step, samples, seed, asked_by, questions, accuracy"
        return {
            "checkpoints": ask(f"SELECT {columns} FROM evaluation"),
            "answers": sorted(ask("SELECT qa_uid, kind, said, correct FROM evaluation_answer")),
            "kinds": {
                kind: tuple(rest)
                for kind, *rest in ask("SELECT kind, questions, accuracy FROM evaluation_kind")
            },
        }
