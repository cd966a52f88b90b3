// Two subsets side by side: what only one has, what both have, and how these differ.

import { bar, find, h, named, number, post, right, rightHead, showError, table, whole } from "/parts.js";

const PARTS = ["first", "both", "second"];
let show = null;
let labels = {};

export function fillCompare(pool, showSubsets) {
  show = showSubsets;
  labels = Object.fromEntries(pool.facets.map((facet) => [facet.name, facet.label]));
  const choices = pool.subsets.flatMap((subset) =>
    ["chosen", "uniform"].filter((role) => subset[role]).map((role) => ({ subset: subset.subset, role })));
  const options = () => choices.map((choice) => h("option", { value: JSON.stringify(choice) }, label(choice)));
  find("first").replaceChildren(...options());
  find("second").replaceChildren(...options());
  const other = choices.findIndex((choice) => choice.role === "chosen" && choice.subset !== choices[0].subset);
  find("second").selectedIndex = other > 0 ? other : choices.length - 1;
  find("compare-ask").hidden = choices.length < 2;
  if (choices.length < 2)
    find("compared").replaceChildren(h("p", { className: "quiet" }, "Two subsets are needed: gdo select POOL --preset temp"));
  else compare();
}

const label = ({ subset, role }) => (role === "chosen" ? subset : `${subset}, control`);

async function compare() {
  const first = JSON.parse(find("first").value);
  const second = JSON.parse(find("second").value);
  try {
    showCompared(await post("/api/compare", { first, second }), first, second);
  } catch (error) {
    showError(error);
  }
}

function showCompared(told, first, second) {
  const titles = { first: `only ${label(first)}`, both: "both", second: `only ${label(second)}` };
  const members = {
    first: [{ ...first, inside: true }, { ...second, inside: false }],
    both: [{ ...first, inside: true }, { ...second, inside: true }],
    second: [{ ...first, inside: false }, { ...second, inside: true }],
  };
  const tiles = PARTS.map((part) => h("button",
    { className: `tile ${part}`, "data-part": part, disabled: !told.sizes[part], title: "Show these samples", onclick: () => show(members[part]) },
    h("strong", {}, whole(told.sizes[part])), h("span", {}, titles[part])));
  const head = ["", ...PARTS.map((part) => rightHead(titles[part])), "unit"];
  const medians = told.numbers.filter((column) => PARTS.some((part) => column[part] !== null)).map((column) => [
    h("td", { title: column.words }, column.name), ...PARTS.map((part) => right(number(column[part]))), column.unit]);
  find("compared").replaceChildren(
    h("div", { className: "tiles" }, tiles),
    h("h3", {}, "Medians"),
    table(head, medians),
    h("h3", {}, "Shares"),
    h("div", { className: "shares" }, told.facets.map((facet) => showFacet(facet, titles))));
}

function showFacet(facet, titles) {
  const rows = facet.values.map((value) => h("div", { className: "share" },
    h("span", { className: "name", title: named(value.value) }, named(value.value)),
    h("span", { className: "bars" }, PARTS.map((part) =>
      h("span", { className: "told", title: `${titles[part]}: ${(100 * value[part]).toFixed(1)} %` }, bar(value[part], part))))));
  return h("figure", {}, h("figcaption", {}, labels[facet.name]), rows);
}

find("first").addEventListener("change", compare);
find("second").addEventListener("change", compare);
