// One sample: its media, conversation, values, what a selection made of it, and what is like it.

import { bar, card, find, get, h, number, picture, right, rightHead, table } from "/parts.js";

const FRAMES = 8;

export async function openSample(uid, pool, goTo) {
  const sample = await get("/api/sample", { uid });
  const dialog = find("sample");
  dialog.replaceChildren(
    h("div", { className: "head" },
      h("h2", {}, uid),
      h("button", { onclick: () => dialog.close(), "aria-label": "Close" }, "✕")),
    h("div", { className: "columns" },
      h("section", {}, sample.media.map(showMedium), showTurns(sample, goTo)),
      h("section", {}, showSubsets(sample, pool), showValues(sample), showFields(sample))),
    h("section", { id: "neighbours" }, h("p", { className: "quiet" }, "Looking for what is like it …")),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  const found = await get("/api/neighbours", { uid });
  if (dialog.querySelector("h2")?.textContent === uid) showNeighbours(found, goTo);
}

function showMedium(medium) {
  const frames = medium.kind === "image" ? 1 : FRAMES;
  const strip = h("div", { className: frames === 1 ? "still" : "strip" });
  const note = h("p", { className: "quiet" });
  if (medium.kind) fillStrip(strip, note, medium, frames);
  const facts = [
    medium.kind,
    medium.width ? `${medium.width} × ${medium.height}` : null,
    medium.frames > 1 ? `${medium.frames} frames` : null,
    medium.duration ? `${number(medium.duration)} s` : null,
    medium.fps ? `${number(medium.fps)} frames/s` : null,
    medium.path,
  ].filter(Boolean);
  return h("figure", {},
    strip,
    medium.kind === "video" ? playButton(medium) : null,
    h("figcaption", {}, facts.join(" · ")),
    medium.error ? h("p", { className: "bad" }, medium.error) : null,
    note);
}

async function fillStrip(strip, note, medium, frames) {
  const side = frames === 1 ? 960 : 240;
  const told = await get(`/api/media/${medium.media_id}`, { frames, side }).catch((error) => ({ indices: [], error: error.message }));
  if (told.error && told.error !== medium.error) note.textContent = told.error;
  strip.replaceChildren(...told.indices.map((index, place) => {
    const at = told.times ? `${told.times[place].toFixed(1)} s` : `frame ${index}`;
    const shown = picture(medium.media_id, place, frames, side, at);
    return frames === 1 ? shown : h("span", { className: "frame" }, shown, h("span", { className: "badge" }, at));
  }));
}

function playButton(medium) {
  const button = h("button", { className: "play" }, "▶ Play");
  button.addEventListener("click", () => {
    const video = h("video", { controls: true, autoplay: true, muted: true, src: `/media/${medium.media_id}/video` });
    video.addEventListener("error", () =>
      video.replaceWith(h("p", { className: "bad" }, "This browser cannot play the file; its frames stand above.")));
    button.replaceWith(video);
  });
  return button;
}

function showTurns(sample, goTo) {
  const turns = sample.turns.flatMap((turn) => {
    const here = turn.qa_uid === sample.qa_uid;
    const open = here ? {} : { role: "button", tabIndex: 0, title: "Open this turn", onclick: () => goTo(turn.qa_uid),
      onkeydown: (event) => event.key === "Enter" && goTo(turn.qa_uid) };
    return [
      h("div", { className: `turn ask ${here ? "here" : ""}`, ...open }, turn.question ?? ""),
      h("div", { className: `turn say ${here ? "here" : ""}` }, turn.answer ?? ""),
    ];
  });
  return h("div", { className: "turns" }, h("h3", {}, sample.turns.length > 1 ? `Conversation, ${sample.turns.length} turns` : "Conversation"), turns);
}

function showValues(sample) {
  const rows = sample.values.map((value) => [
    h("td", { title: [value.words, value.maker].filter(Boolean).join("\n") }, value.name),
    right(number(value.value)),
    value.unit,
    value.value === null
      ? h("td", { className: "quiet" }, value.why)
      : h("td", { title: value.below === null ? "" : `${Math.round(100 * value.below)} % of the pool's values are not above it` },
        value.below === null ? "" : bar(value.below)),
  ]);
  return h("div", {}, h("h3", {}, "Descriptors"), table(["", rightHead("value"), "unit", "place in the pool"], rows));
}

function showFields(sample) {
  const rows = sample.fields.map((field) => [
    h("td", { title: field.words }, field.name),
    `${number(field.value)}${field.unit && field.value !== null ? ` ${field.unit}` : ""}`,
  ]);
  return h("details", {}, h("summary", {}, "All other fields"), table(["", "value"], rows));
}

function showSubsets(sample, pool) {
  const mine = sample.subsets.map((member) => `${member.subset}${member.role === "uniform" ? ", control" : ""} (number ${member.rank + 1})`);
  const told = h("div", { id: "explained" });
  const choice = h("select", { id: "explain-subset", "aria-label": "Subset to explain" },
    pool.subsets.map((subset) => h("option", {}, subset.subset)));
  const explain = async () => {
    told.replaceChildren(h("p", { className: "quiet" }, "Working the selection out again …"));
    try {
      told.replaceChildren(showExplanation(await get("/api/explain", { uid: sample.qa_uid, subset: choice.value })));
    } catch (error) {
      told.replaceChildren(h("p", { className: "bad" }, error.message));
    }
  };
  return h("div", {},
    h("h3", {}, "Subsets"),
    h("p", {}, mine.length ? `In ${mine.join("; ")}.` : "In none."),
    pool.subsets.length ? h("div", { className: "bar" }, choice, h("button", { id: "explain", onclick: explain }, "Explain")) : null,
    told);
}

function showExplanation(told) {
  const rows = [
    ["verdict", told.verdict],
    ["in the uniform control", told.in_control ? "yes" : "no"],
    ["stratum", Object.values(told.stratum).join(" | ")],
    ["rank in the stratum", told.rank ? `${told.rank} of ${told.stratum_size}` : "–"],
    ["quota, candidates kept", told.rank ? `${told.stratum_quota}, ${told.stratum_cap}` : "–"],
    ...Object.entries(told.terms).map(([name, value]) => [name, right(number(value))]),
  ];
  return table(["", ""], rows);
}

function showNeighbours(found, goTo) {
  const why = !found.has_vectors ? "The pool has no vectors: gdo describe POOL coverage makes them." : "This sample has no vector.";
  find("neighbours").replaceChildren(
    h("h3", {}, "Most alike by vector"),
    found.alike.length ? h("div", { className: "grid small" }, found.alike.map((sample) => card(sample, "", goTo))) : h("p", { className: "quiet" }, why),
    h("h3", {}, "Near-duplicates"),
    found.copies.length
      ? h("div", { className: "grid small" }, found.copies.map((sample) => card(sample, "", goTo)))
      : h("p", { className: "quiet" }, found.searched ? "None were found." : "They were not looked for: gdo duplicates POOL does."),
  );
}
