// The explorer's one page: a list of samples under a filter. Other views stand in sample.js and compare.js.

import {
  bar, card, find, get, h, named, number, picture, post, right, rightHead, showError, table, whole,
} from "/parts.js";
import { fillCompare } from "/compare.js";
import { openSample } from "/sample.js";

const state = {
  filter: { facets: {}, subsets: [], where: "" },
  order: { by: "", direction: "desc" },
  asTable: false,
  after: null,
  sql: "",
  asked: 0,
};
let pool = null;

async function start() {
  pool = await get("/api/pool");
  tellPool();
  await reload();
  followAddress();
}

function tellPool() {
  find("pool").textContent = `${pool.pool.split("/").pop()} · ${whole(pool.samples)} samples`;
  find("pool").title = pool.pool;
  find("stale").hidden = !pool.stale;
  find("save").hidden = !pool.writes;
  const choices = pool.numbers.map((name) => {
    const unit = pool.columns.find((column) => column.name === name).unit;
    return h("option", { value: name, selected: name === state.order.by }, unit ? `${name} (${unit})` : name);
  });
  find("sort").replaceChildren(h("option", { value: "" }, "order of ingestion"), ...choices);
  fillCompare(pool, showSubsets);
}

async function reload() {
  const turn = ++state.asked;
  showError(null);
  document.body.classList.add("busy");
  try {
    const [page, counts] = await Promise.all([
      post("/api/page", { filter: state.filter, order: state.order }),
      post("/api/facets", state.filter),
    ]);
    if (turn !== state.asked) return;
    find("samples").replaceChildren();
    showPage(page);
    showFacets(counts);
    showChips();
    find("count").textContent = `${whole(counts.total)} of ${whole(pool.samples)}`;
    state.total = counts.total;
  } catch (error) {
    if (turn === state.asked) showError(error);
  } finally {
    if (turn === state.asked) document.body.classList.remove("busy");
  }
}

function showPage(page) {
  state.after = page.after;
  state.sql = page.sql;
  find("more").hidden = page.after === null;
  find("download-sql").href = URL.createObjectURL(new Blob([`${page.sql};\n`], { type: "text/plain" }));
  find("samples").className = state.asTable ? "rows" : "grid";
  if (state.asTable) showRows(page.samples);
  else find("samples").append(...page.samples.map((sample) => card(sample, state.order.by, goTo)));
  if (!page.samples.length && !find("samples").children.length)
    find("samples").append(h("p", { className: "quiet" }, "No sample meets the filter."));
}

function showRows(samples) {
  const told = pool.columns.filter((column) => column.value && pool.numbers.includes(column.name));
  const names = [...new Set([state.order.by, ...told.map((column) => column.name)])].filter(Boolean);
  const rows = samples.map((sample) => [
    h("td", { className: "tiny" }, sample.media_ids.length ? picture(sample.media_ids[0], 1, 3, 240, "") : ""),
    h("td", {}, h("button", { className: "link", "data-uid": sample.qa_uid, onclick: () => goTo(sample.qa_uid) }, sample.qa_uid)),
    h("td", { className: "cut" }, sample.question ?? ""),
    h("td", { className: "cut" }, sample.answer ?? ""),
    ...names.map((name) => right(number(sample[name]))),
  ]);
  const old = find("samples").querySelector("tbody");
  const fresh = table(["", "id", "question", "answer", ...names.map(rightHead)], rows);
  if (old) old.append(...fresh.querySelectorAll("tbody tr"));
  else find("samples").append(fresh);
}

function showFacets(counts) {
  const open = new Set([...find("facets").querySelectorAll("details[open]")].map((d) => d.dataset.facet));
  const first = !find("facets").children.length;
  const usual = ["subset", "bucket", "source_group", "temporal_category"];
  const isOpen = (name) => (first ? usual.includes(name) : open.has(name)) || Boolean(state.filter.facets[name]?.length);
  const facets = counts.facets.map((facet) => {
    const { label } = pool.facets.find((known) => known.name === facet.name);
    const most = Math.max(1, ...facet.values.map(({ count }) => count));
    return h(
      "details",
      { open: isOpen(facet.name), "data-facet": facet.name },
      h("summary", {}, label),
      facet.values.map(({ value, count }) => facetRow(facet.name, value, count, most)),
      facet.more ? h("p", { className: "quiet" }, `and ${whole(facet.more)} more; ask for them by WHERE ${facet.name} = …`) : null,
    );
  });
  find("facets").replaceChildren(subsetFacet(isOpen("subset")), ...facets);
}

function facetRow(name, value, count, most) {
  const chosen = state.filter.facets[name] ?? [];
  const toggle = (event) => {
    const kept = chosen.filter((other) => other !== value);
    state.filter.facets[name] = event.target.checked ? [...kept, value] : kept;
    reload();
  };
  return h(
    "label",
    { className: "facet", title: named(value) },
    h("input", { type: "checkbox", checked: chosen.includes(value), onchange: toggle }),
    h("span", { className: "name" }, named(value)),
    h("span", { className: "tally" }, whole(count)),
    bar(count / most),
  );
}

function subsetFacet(open) {
  const rows = pool.subsets.flatMap((subset) =>
    ["chosen", "uniform"].filter((role) => subset[role]).map((role) => subsetRow(subset, role)),
  );
  const none = h("p", { className: "quiet" }, "Nothing was selected yet.");
  return h("details", { open, "data-facet": "subset" }, h("summary", {}, "Subset"), rows.length ? rows : none);
}

function subsetRow(subset, role) {
  const same = (member) => member.subset === subset.subset && member.role === role;
  const now = state.filter.subsets.find(same);
  const choose = (event) => {
    const others = state.filter.subsets.filter((member) => !same(member));
    const inside = event.target.value === "in";
    state.filter.subsets = event.target.value ? [...others, { subset: subset.subset, role, inside }] : others;
    reload();
  };
  const name = role === "chosen" ? subset.subset : `${subset.subset}, control`;
  const picked = now ? (now.inside ? "in" : "out") : "";
  const options = [["", "any"], ["in", "in"], ["out", "not in"]];
  return h(
    "label",
    { className: "facet subset", title: `by ${subset.preset}, ${subset.created} UTC` },
    h("span", { className: "name" }, name),
    h("span", { className: "tally" }, whole(subset[role])),
    h("select", { onchange: choose, "data-subset": subset.subset, "data-role": role },
      options.map(([value, text]) => h("option", { value, selected: value === picked }, text))),
  );
}

function showChips() {
  const chips = [];
  const chip = (text, drop) =>
    chips.push(h("button", { className: "chip", title: "Take this filter away", onclick: () => { drop(); reload(); } }, `${text} ×`));
  for (const [name, values] of Object.entries(state.filter.facets))
    if (values.length) chip(`${name}: ${values.map(named).join(", ")}`, () => delete state.filter.facets[name]);
  for (const member of state.filter.subsets) {
    const text = `${member.inside ? "in" : "not in"} ${member.subset}${member.role === "uniform" ? ", control" : ""}`;
    chip(text, () => (state.filter.subsets = state.filter.subsets.filter((other) => other !== member)));
  }
  if (state.filter.where) chip(state.filter.where, () => (state.filter.where = find("where").value = ""));
  find("chips").replaceChildren(...chips);
}

function showSubsets(members) {
  state.filter = { facets: {}, subsets: members, where: "" };
  find("where").value = "";
  showView("list");
  reload();
}

function showView(name) {
  for (const view of ["list", "compare"]) {
    find(view).hidden = view !== name;
    find(`to-${view}`).setAttribute("aria-pressed", String(view === name));
  }
}

function goTo(uid) {
  location.hash = `sample=${encodeURIComponent(uid)}`;
}

function followAddress() {
  const [, uid] = location.hash.match(/^#sample=(.*)$/) ?? [];
  if (uid) openSample(decodeURIComponent(uid), pool, goTo).catch(showError);
  else find("sample").close();
}

async function save(event) {
  event.preventDefault();
  find("save-error").textContent = "";
  const list = { filter: state.filter, order: state.order };
  try {
    await post("/api/save", { name: find("save-name").value, list });
    find("save-dialog").close();
    pool = await get("/api/pool");
    tellPool();
    await reload();
  } catch (error) {
    find("save-error").textContent = error.message;
  }
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  state.filter.where = find("where").value.trim();
  reload();
});
find("sort").addEventListener("change", () => {
  state.order.by = find("sort").value;
  reload();
});
find("direction").addEventListener("click", () => {
  state.order.direction = state.order.direction === "desc" ? "asc" : "desc";
  find("direction").textContent = state.order.direction === "desc" ? "largest first" : "smallest first";
  reload();
});
find("view").addEventListener("click", () => {
  state.asTable = !state.asTable;
  find("view").textContent = state.asTable ? "as grid" : "as table";
  reload();
});
find("more").addEventListener("click", async () => {
  const turn = state.asked;
  const asked = { filter: state.filter, order: state.order, after: state.after };
  const page = await post("/api/page", asked).catch(showError);
  if (page && turn === state.asked) showPage(page);
});
find("copy-sql").addEventListener("click", async () => {
  await navigator.clipboard.writeText(state.sql);
  find("copy-sql").textContent = "Copied";
  setTimeout(() => (find("copy-sql").textContent = "Copy SQL"), 1500);
});
find("save").addEventListener("click", () => {
  find("save-what").textContent = `${whole(state.total)} samples, in the order shown; a uniform control is drawn beside them.`;
  find("save-error").textContent = "";
  find("save-dialog").showModal();
});
find("save-cancel").addEventListener("click", () => find("save-dialog").close());
find("save-form").addEventListener("submit", save);
find("refresh").addEventListener("click", async () => {
  pool = await post("/api/refresh", {}).catch(showError) ?? pool;
  tellPool();
  reload();
});
find("to-list").addEventListener("click", () => showView("list"));
find("to-compare").addEventListener("click", () => showView("compare"));
find("sample").addEventListener("close", () => {
  find("sample").replaceChildren();
  if (location.hash) history.replaceState(null, "", "/");
});
addEventListener("hashchange", followAddress);
addEventListener("focus", async () => {
  const now = await get("/api/pool").catch(() => null);
  if (now) find("stale").hidden = !now.stale;
});

start().catch(showError);
