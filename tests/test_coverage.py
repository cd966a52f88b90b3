"""Coverage: vectors of media and samples, by whichever embedder, and clusters that depend on them alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pytest
from fake_probe import FakeEmbedder, FakeModels
from numpy.typing import NDArray
from qwen_models import save_qwen
from test_probe_models import save_gemma, save_llava

from gdo.descriptors import catalog
from gdo.descriptors.coverage.clusters import assign, find_centroids
from gdo.descriptors.coverage.open_clip import OpenClip, find_open_clip
from gdo.descriptors.describe import DescribeReport, DescriptorReport, describe
from gdo.descriptors.engine.estimate import estimate
from gdo.descriptors.engine.on_device import compute_rows, spread
from gdo.descriptors.probe.load import load_probe, read_card
from gdo.errors import GdoError, UsageError
from gdo.pool.frames import Frames, MediaInfo
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def make_pool(folder: Path, rows: Sequence[tuple[str, Sequence[str]]]) -> Path:
    """A pool of a sample for each question, with the pictures of these names; `torn*` cannot be read."""
    random = np.random.default_rng(0)
    lines = []
    for number, (question, pictures) in enumerate(rows):
        for name in pictures:
            if not (folder / name).exists():
                cv2.imwrite(str(folder / name), random.integers(0, 256, (40, 56, 3), np.uint8))
            if name.startswith("torn"):
                (folder / name).write_bytes(b"no picture")
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": f"Answer {number}"}]
        lines.append(json.dumps({"id": f"r{number}", "messages": turns, "images": list(pictures)}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    ingest(folder / "pool.duckdb", [folder / "rows.jsonl"], workers=1)
    return folder / "pool.duckdb"


def many(folder: Path, count: int = 60) -> Path:
    return make_pool(folder, [(f"What is it? {n}", [f"{n % 20}.png"]) for n in range(count)])


def cover(pool: Path, **options: Any) -> DescribeReport:
    return describe(pool, ["coverage"], **{"models": FakeModels(), "workers": 0, "device": "cpu"} | options)


def query(pool: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(pool), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def clusters(pool: Path) -> list[tuple[Any, ...]]:
    return query(pool, "SELECT id, turn, cluster_id, cluster_dist FROM candidate ORDER BY ALL")


def counts(report: DescribeReport) -> dict[str, tuple[int, int, int]]:
    def told(one: DescriptorReport) -> tuple[int, int, int]:
        return one.already, one.computed, one.errors

    return {one.name: told(one) for one in report.descriptors}


def test_vectors_are_those_of_media_and_text_side_by_side(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [("one", ["a.png"]), ("two", ["a.png", "b.png"])])
    report = cover(pool)
    assert counts(report)["media_embedding"] == (0, 2, 0)
    fake = FakeEmbedder(FakeModels().read_card("self", device="cpu", settings=None))
    small = dict(query(pool, "SELECT paths[1], embedding FROM media JOIN media_embedding USING (media_id)"))
    a, b = (np.array(small[name]) for name in ("a.png", "b.png"))
    assert np.linalg.norm(a) == pytest.approx(1)
    texts = fake.texts([("one", "Answer 0"), ("two", "Answer 1")])
    both = (a + b) / np.linalg.norm(a + b)
    wanted = [(a, texts[0]), (both, texts[1])]
    got = query(pool, "SELECT embedding FROM embedding JOIN sample USING (qa_uid) ORDER BY id")
    for (vector,), parts in zip(got, wanted, strict=True):
        np.testing.assert_allclose(vector, np.concatenate(parts) / 2**0.5, atol=1e-6)
    near = "SELECT array_cosine_similarity(a.embedding, b.embedding) FROM embedding a, embedding b"
    assert len(run_sql(pool, near).rows) == 4


def test_what_cannot_be_read_has_no_vector_and_a_reason(tmp_path: Path) -> None:
    pool = make_pool(
        tmp_path, [("one", ["a.png"]), ("two", ["torn.png"]), ("raise", ["a.png"]), ("x", ["a.png"])]
    )
    report = cover(pool, clusters=2)
    assert counts(report) == {
        "media_embedding": (0, 1, 1),
        "embedding": (0, 2, 2),
        "coverage": (0, 2, 2),
    }
    rows = query(
        pool,
        "SELECT id, e.error, c.error, cluster_id IS NULL FROM sample JOIN embedding e USING (qa_uid) "
        "JOIN coverage c USING (qa_uid) ORDER BY id",
    )
    assert rows[0] == ("r0", None, None, False)
    assert rows[1] == ("r1", "its media have no embedding", "no embedding", True)
    assert rows[2][1] == "RuntimeError (out of order)"
    assert counts(cover(pool, clusters=2))["coverage"] == (4, 0, 0)


def test_clusters_depend_on_nothing_but_the_samples(tmp_path: Path) -> None:
    found = []
    for name, options in {"a": {}, "b": {"workers": 2}, "c": {"limit": 25}}.items():
        (tmp_path / name).mkdir()
        pool = many(tmp_path / name)
        cover(pool, clusters=7, **options)
        cover(pool, clusters=7)
        found.append(clusters(pool))
    assert found[0] == found[1] == found[2]
    ids = {row[2] for row in found[0]}
    assert ids <= set(range(7)) and len(ids) > 1
    assert all(0 < row[3] < 2 for row in found[0])


def test_new_samples_change_all_clusters_at_once(tmp_path: Path) -> None:
    pool = many(tmp_path)
    cover(pool, clusters=5)
    before = clusters(pool)
    old = (tmp_path / "rows.jsonl").read_text().splitlines()[:40]
    (tmp_path / "more.jsonl").write_text(
        "\n".join(old).replace('"id": "r', '"id": "n').replace("What", "How")
    )
    ingest(pool, [tmp_path / "more.jsonl"], workers=1)
    report = cover(pool, clusters=5)
    assert counts(report)["embedding"] == (60, 40, 0)
    assert counts(report)["coverage"] == (0, 100, 0)
    after = clusters(pool)
    assert query(pool, "SELECT count(*), count(DISTINCT qa_uid) FROM coverage") == [(100, 100)]
    assert [row for row in after if row[0].startswith("r")] != before


def test_as_many_clusters_as_samples_by_default(tmp_path: Path) -> None:
    pool, said = many(tmp_path, 12), []
    cover(pool, say=said.append)
    assert query(pool, "SELECT count(DISTINCT cluster_id), max(cluster_dist) FROM coverage") == [(12, 0)]
    assert any("--clusters" in sentence for sentence in said)
    assert query(pool, "SELECT DISTINCT cluster_rep, cluster_hard FROM candidate") == [(1, 0)]


def test_a_number_once_asked_is_kept(tmp_path: Path) -> None:
    pool, said = many(tmp_path, 12), []
    cover(pool)
    cover(pool, clusters=5)
    before = clusters(pool)
    assert counts(cover(pool, say=said.append))["coverage"] == (12, 0, 0)
    assert clusters(pool) == before
    assert any("12 samples in 5 clusters, as many as were asked before" in sentence for sentence in said)
    cover(pool, clusters=3)
    cover(pool, probe="another")
    assert {row[2] for row in clusters(pool)} == {0, 1, 2}


def test_a_number_that_nobody_asked_grows_with_the_pool(tmp_path: Path) -> None:
    pool = many(tmp_path, 6)
    cover(pool)
    more = (tmp_path / "rows.jsonl").read_text().replace('"id": "r', '"id": "n')
    (tmp_path / "more.jsonl").write_text(more)
    ingest(pool, [tmp_path / "more.jsonl"], workers=1)
    cover(pool)
    assert query(pool, "SELECT DISTINCT probe LIKE '%/k=12' FROM coverage ORDER BY ALL") == [
        (False,),
        (True,),
    ]


@pytest.mark.parametrize("k", [1, 16, 200])
def test_centroids_and_distances_do_not_depend_on_threads(k: int) -> None:
    import faiss

    random = np.random.default_rng(1)
    means = random.standard_normal((12, 48))
    vectors = means[random.integers(0, 12, 5000)] + 0.5 * random.standard_normal((5000, 48))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    told = []
    before = faiss.omp_get_max_threads()
    for threads in (1, 2, 5):
        faiss.omp_set_num_threads(threads)
        centroids = find_centroids(vectors, k, seed=3)
        blocks = list(assign(vectors, centroids))
        told.append(
            (centroids, *(np.concatenate([getattr(b, n) for b in blocks]) for n in ("ids", "distances")))
        )
    faiss.omp_set_num_threads(before)
    for other in told[1:]:
        for a, b in zip(told[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    centroids, ids, distances = told[0]
    true = np.linalg.norm(vectors[:, None].astype(np.float64) - centroids, axis=2)
    np.testing.assert_array_equal(ids, true.argmin(axis=1))
    np.testing.assert_allclose(distances, true.min(axis=1), rtol=1e-9)


def test_vectors_of_another_length_wait_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = many(tmp_path, 10)
    cover(pool, clusters=2)
    first = query(pool, "SELECT qa_uid, embedding FROM embedding ORDER BY ALL")
    shorter = FakeModels.embedder
    monkeypatch.setattr(FakeModels, "embedder", lambda self, card: FakeEmbedder(card, size=5))
    cover(pool, clusters=2, probe="another", limit=1)
    assert query(pool, "SELECT len(embedding) FROM embedding") == [(10,)]
    assert query(pool, "SELECT count(*) FROM embedding_16") == [(10,)]
    cover(pool, clusters=2, probe="another")
    assert query(pool, "SELECT count(*) FROM coverage WHERE probe LIKE '%/k=2'") == [(20,)]
    assert query(pool, "SELECT count(*) FROM candidate WHERE cluster_id IS NOT NULL") == [(10,)]
    monkeypatch.setattr(FakeModels, "embedder", shorter)
    assert counts(cover(pool, clusters=2))["embedding"] == (10, 0, 0)
    assert query(pool, "SELECT qa_uid, embedding FROM embedding ORDER BY ALL") == first


def test_a_run_that_ends_before_it_has_vectors_leaves_the_others_where_they_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = many(tmp_path, 10)
    cover(pool, clusters=2)
    whole = FakeModels.embedder
    with monkeypatch.context() as patch:
        patch.setattr(FakeModels, "embedder", lambda self, card: FakeEmbedder(card, size=5))
        patch.setattr(FakeEmbedder, "load", stop)
        for _ in range(2):
            with pytest.raises(GdoError, match="no weights"):
                cover(pool, clusters=2, probe="another")
    assert query(pool, "SELECT count(*) FROM embedding") == query(
        pool, "SELECT count(*) FROM media_embedding"
    )
    ingest(pool, [tmp_path / "rows.jsonl"], replace=True)
    monkeypatch.setattr(FakeModels, "embedder", whole)
    assert counts(cover(pool, clusters=2))["embedding"] == (10, 0, 0)
    monkeypatch.setattr(FakeModels, "embedder", lambda self, card: FakeEmbedder(card, size=5))
    assert counts(cover(pool, clusters=2, probe="another"))["embedding"] == (0, 10, 0)


def stop(embedder: FakeEmbedder, device: str) -> FakeEmbedder:
    raise GdoError("there are no weights")


def test_vectors_that_wait_are_forgotten_too_where_a_text_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, rows = many(tmp_path, 10), tmp_path / "rows.jsonl"
    cover(pool, clusters=2)
    whole = FakeModels.embedder
    monkeypatch.setattr(FakeModels, "embedder", lambda self, card: FakeEmbedder(card, size=5))
    cover(pool, clusters=2, probe="another")
    rows.write_text(rows.read_text().replace("Answer 3", "Another"))
    ingest(pool, [rows], replace=True)
    monkeypatch.setattr(FakeModels, "embedder", whole)
    assert counts(cover(pool, clusters=2))["embedding"] == (0, 10, 0)


def test_estimate(tmp_path: Path) -> None:
    pool = many(tmp_path)
    (told,) = estimate(pool, ["coverage"], models=FakeModels(), workers=0, device="cpu").descriptors
    assert (told.name, told.missing, told.unit) == ("coverage", 60, "core")
    assert told.seconds > 0
    assert query(pool, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'embedding'") == [(0,)]


def test_wrong_choices_are_refused(tmp_path: Path) -> None:
    pool = many(tmp_path, 2)
    with pytest.raises(UsageError, match="clusters must be 1 or more"):
        cover(pool, clusters=0)
    with pytest.raises(UsageError, match="embed must be probe or open_clip:"):
        cover(pool, embed="clip")
    with pytest.raises(UsageError, match="that open_clip knows"):
        cover(pool, embed="open_clip:ViT-Z/openai")
    with pytest.raises(UsageError, match="is no file, and no weights of ViT-B-32"):
        cover(pool, embed="open_clip:ViT-B-32/nobody")


def test_devices_share_the_batches_and_keep_their_order() -> None:
    asked: list[str] = []

    def load(device: str) -> Any:
        asked.append(device)
        return lambda item: (device, item)

    told = list(spread(load, iter(range(9)), ["a", "b"]))
    assert told == [("ab"[n % 2], n) for n in range(9)]
    assert sorted(asked) == ["a", "b"]

    def broken(device: str) -> Any:
        raise RuntimeError("no such device")

    with pytest.raises(GdoError, match="no such device"):
        list(spread(broken, iter([1]), ["a"]))


def test_a_bad_item_spoils_no_other() -> None:
    def compute(items: Sequence[float]) -> dict[str, list[float]]:
        if 13 in items:
            raise ValueError("unlucky")
        return {"half": [item / 2 for item in items]}

    rows = compute_rows(compute, ["half"], [1, 13, 3, float("nan"), 5])
    assert rows == [
        {"half": 0.5},
        {"error": "ValueError (unlucky)"},
        {"half": 1.5},
        {"error": "its values are no numbers"},
        {"half": 2.5},
    ]


def frames_of(count: int, seed: int, height: int = 40, width: int = 56) -> Frames:
    random = np.random.default_rng(seed)
    pictures = [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]
    return Frames(pictures, list(range(count)), None, MediaInfo("frames", width, height, frames=count))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> OpenClip:
    """A tiny model with weights in a file."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "weights.pt")
    return find_open_clip(f"open_clip:tiny-clip/{folder / 'weights.pt'}")


def test_open_clip_sees_what_its_own_preprocessing_shows(clip: OpenClip) -> None:
    import open_clip
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", pretrained=clip.weights)
    media = [frames_of(3, 1), frames_of(1, 2, 33, 90), frames_of(2, 3, 70, 31)]
    towers = clip.load("cpu")
    got = towers.media([clip.prepare(frames) for frames in media])
    for frames, vector in zip(media, got, strict=True):
        pictures = torch.stack([preprocess(Image.fromarray(picture)) for picture in frames.images])
        with torch.inference_mode():
            want = model.eval().encode_image(pictures, normalize=True).mean(0)
        np.testing.assert_allclose(vector, (want / want.norm()).numpy(), atol=1e-5)
    texts = [("What colour is it?", "Red"), ("word " * 100, "too long for the model")]
    with torch.inference_mode():
        want = model.encode_text(open_clip.get_tokenizer("tiny-clip")([" ".join(text) for text in texts]))
    want_unit = torch.nn.functional.normalize(want, dim=1).numpy()
    np.testing.assert_allclose(towers.texts(texts), want_unit, atol=1e-5)


def test_open_clip_covers_a_pool(clip: OpenClip, tmp_path: Path) -> None:
    pool = many(tmp_path, 30)
    report = cover(pool, embed=f"open_clip:tiny-clip/{clip.weights}", models=None, clusters=4, workers=1)
    assert counts(report) == {
        name: (0, n, 0) for name, n in (("media_embedding", 20), ("embedding", 30), ("coverage", 30))
    }
    assert query(pool, "SELECT DISTINCT typeof(embedding) FROM embedding") == [("FLOAT[32]",)]
    assert query(pool, "SELECT model, dtype FROM probe") == [("open_clip:tiny-clip", "float32")]


def test_weights_that_do_not_fit_are_told(clip: OpenClip, tmp_path: Path) -> None:
    pool = many(tmp_path, 2)
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(GdoError, match=r"cannot be loaded .*--embed probe"):
        cover(pool, embed=f"open_clip:tiny-clip/{tmp_path / 'bad.pt'}")


def plain_states(probe: Any, asked: str, answer: str, frames: Frames | None) -> NDArray[np.float32]:
    """The mean state, by the processor and the model alone."""
    import torch

    processor, model = probe.chat.processor, probe.forest.model
    images = list(frames.images) if frames else []
    parts = [*({"type": "image"} for _ in images), {"type": "text", "text": asked}]
    turns: list[Any] = [{"role": "user", "content": parts}]
    if not frames:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=bool(frames))
    shown = {"images": [images], "input_data_format": "channels_last"} if frames else {}
    inputs = processor(text=[text], return_tensors="pt", **shown)
    with torch.inference_mode():
        states = model.base_model(**inputs).last_hidden_state[0]
    if frames:
        ids = torch.tensor(probe.chat.media_ids)
        states = states[torch.isin(inputs["input_ids"][0], ids)]
    mean = states.double().mean(0)
    return np.asarray(mean / mean.norm(), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("make", [save_qwen, save_llava, save_gemma])
def test_states_of_a_probe_are_those_of_single_samples(make: Any, tmp_path: Path) -> None:
    from gdo.descriptors.probe.states import embed_media, embed_texts

    probe = load_probe(read_card(str(make(tmp_path / "model")), device="cpu"), device="cpu")
    media = [frames_of(count, count) for count in (1, 2, 4)]
    for frames, vector in zip(media, embed_media(probe, media), strict=True):
        np.testing.assert_allclose(vector, plain_states(probe, "", "", frames), atol=1e-4)
    texts = [("What?", "A ball"), ("Which colour? " * 9, "red")]
    for (question, answer), vector in zip(texts, embed_texts(probe, texts), strict=True):
        np.testing.assert_allclose(vector, plain_states(probe, question, answer, None), atol=1e-4)


@pytest.mark.slow
def test_a_probe_covers_a_pool(tmp_path: Path) -> None:
    pool, model = many(tmp_path, 24), save_qwen(tmp_path / "model")
    report = cover(pool, models=None, probe=str(model), clusters=3, workers=1)
    assert counts(report)["coverage"] == (0, 24, 0)
    label = query(pool, "SELECT DISTINCT probe FROM embedding")[0][0]
    assert label.startswith("model@")
    assert query(pool, "SELECT probe FROM descriptor WHERE name = 'coverage'") == [(f"{label}/k=3",)]
    same = "SELECT min(array_cosine_similarity(embedding, embedding)) FROM media_embedding"
    assert run_sql(pool, same).rows[0][0] == pytest.approx(1, abs=1e-5)


def test_with_a_limit_samples_wait_for_their_media(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [(f"What? {n}", [f"{n}.png"]) for n in range(30)])
    cover(pool, clusters=3, limit=10)
    assert query(pool, "SELECT count(*) FROM embedding WHERE error IS NOT NULL") == [(0,)]
    cover(pool, clusters=3)
    assert query(pool, "SELECT count(cluster_id) FROM candidate") == [(30,)]


def test_a_run_with_nothing_to_do_loads_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = many(tmp_path, 10)
    cover(pool, clusters=2)
    monkeypatch.setattr(FakeEmbedder, "load", None)
    assert counts(cover(pool, clusters=2))["embedding"] == (10, 0, 0)


def test_without_faiss_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = many(tmp_path, 2)
    monkeypatch.setattr(catalog, "find_spec", lambda name: None if name == "faiss" else True)
    with pytest.raises(UsageError, match=r"gdo\[cpu\]"):
        cover(pool)
