// What the pages are made of. Texts of a pool are strangers' texts: they become text nodes, never markup.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const find = (id) => document.getElementById(id);

export async function get(address, parameters = {}) {
  return answer(await fetch(`${address}?${new URLSearchParams(parameters)}`));
}

export async function post(address, body) {
  const headers = { "Content-Type": "application/json" };
  return answer(await fetch(address, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answer(response) {
  const text = await response.text();
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    throw new Error(text || `the explorer answered ${response.status}`);
  }
  if (!response.ok) throw new Error(told.error);
  return told;
}

export function showError(error) {
  find("error").textContent = error ? error.message : "";
  find("error").hidden = !error;
}

export const whole = (number) => number.toLocaleString("en");

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return whole(value);
  return Math.abs(value) >= 1000 ? whole(Math.round(value)) : String(Number(value.toPrecision(4)));
}

export const named = (value) => (value === null ? "(missing)" : value === "" ? "(empty)" : String(value));

export function bar(share, kind = "") {
  const inner = h("span", { className: `bar-inner ${kind}` });
  inner.style.width = `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
  return h("span", { className: "bar-outer" }, inner);
}

export function picture(mediaId, index, frames, side, description) {
  const image = h("img", { loading: "lazy", decoding: "async", alt: description });
  image.addEventListener("error", () => image.replaceWith(h("span", { className: "broken" }, "no picture")));
  image.src = `/media/${mediaId}/frame/${index}?frames=${frames}&side=${side}`;
  return image;
}

export function card(sample, sortedBy, open) {
  const [first] = sample.media_ids;
  const told = sample.similarity !== undefined ? `${number(sample.similarity)} alike` : null;
  const value = sortedBy ? `${sortedBy} ${number(sample[sortedBy])}` : null;
  return h(
    "button",
    { className: "card", onclick: () => open(sample.qa_uid), "data-uid": sample.qa_uid },
    h(
      "span",
      { className: "thumb" },
      first ? picture(first, 1, 3, 240, "") : h("span", { className: "broken" }, "no media"),
      sample.media > 1 ? h("span", { className: "badge" }, `${sample.media} media`) : null,
    ),
    h("span", { className: "question" }, sample.question ?? ""),
    h("span", { className: "answer" }, sample.answer ?? ""),
    h("span", { className: "foot" }, told ?? value ?? sample.data_source ?? ""),
  );
}

const asCell = (cell, tag) => (cell instanceof HTMLTableCellElement ? cell : h(tag, {}, cell));

export function table(headings, rows) {
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, headings.map((heading) => asCell(heading, "th")))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => asCell(cell, "td"))))),
  );
}

export const right = (...children) => h("td", { className: "number" }, ...children);
export const rightHead = (text) => h("th", { scope: "col", className: "number" }, text);
