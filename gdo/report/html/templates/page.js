// Draws the charts of a report when they come into sight, in the page's colours, light or dark.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = ["#4477cc", "#e08214", "#2a9d74", "#c2478a", "#8a63d2", "#b59a16", "#38a3b8", "#d1495b", "#7f8c5a", "#9a7b6b"];
  const ROLES = { pool: "#98a1ad", subset: "#4477cc", control: "#e08214", others: "#9aa0a8" };
  const OTHER = ROLES.others;
  const SHADES = {
    light: { shares: [[0, "#f3f6fb"], [1, "#4477cc"]], signed: [[0, "#d0653c"], [0.5, "#f7f7f8"], [1, "#4477cc"]] },
    dark: { shares: [[0, "#232830"], [1, "#4477cc"]], signed: [[0, "#b9572f"], [0.5, "#2a2e36"], [1, "#4477cc"]] },
  };
  const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const probe = document.createElement("span");
  document.body.append(probe);
  probe.hidden = true;

  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };

  const dark = () => {
    const told = document.documentElement.dataset.theme;
    return told ? told === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };

  const axis = (told) => ({
    gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true, ...told,
  });

  const axes = (told) => Object.fromEntries(
    Object.entries({ xaxis: {}, yaxis: {}, ...told }).filter(([name]) => /^[xy]axis/.test(name)).map(([name, one]) => [name, axis(one)]));

  const layout = (told) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
    colorway: COLOURS,
    margin: { l: 10, r: 14, t: 24, b: 40 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hoverlabel: { namelength: -1 },
    ...told,
    ...axes(told),
  });

  const shaded = (trace) => {
    if (trace.type === "box") return { ...trace, line: { color: COLOURS[0] }, fillcolor: "rgba(68,119,204,0.25)" };
    const told = Number.isInteger(trace.meta) ? COLOURS[trace.meta % COLOURS.length] : ROLES[trace.meta];
    if (told) return { ...trace, marker: { ...trace.marker, color: told } };
    if (trace.type !== "heatmap") return trace;
    const shades = SHADES[dark() ? "dark" : "light"][trace.meta];
    return { ...trace, colorscale: shades, colorbar: { thickness: 10, outlinewidth: 0 } };
  };

  const drawChart = (place) => {
    const figure = data.charts[place.dataset.chart];
    return Plotly.react(place, figure.data.map(shaded), layout(figure.layout), CONFIG);
  };

  const text = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // The traces of one colouring: one of all points for numbers, one of each name for categories.
  const mapTraces = (map, by) => {
    const points = [...by.values.keys()].filter((i) => i < map.base || by.extra);
    const at = (some) => ({
      type: "scatter", mode: "markers", x: some.map((i) => map.x[i]), y: some.map((i) => map.y[i]),
      text: some.map((i) => text(map.ids[i])),
    });
    const missing = points.filter((i) => by.values[i] === null);
    const traces = [];
    if (missing.length) {
      traces.push({
        ...at(missing), name: "no value", hovertemplate: "%{text}<extra></extra>", marker: { size: 4, color: OTHER, opacity: 0.35 },
      });
    }
    const known = points.filter((i) => by.values[i] !== null);
    if (by.names === null) {
      const values = known.map((i) => by.values[i]);
      const sorted = [...values].sort((a, b) => a - b);
      const end = (share) => sorted[Math.round(share * (sorted.length - 1))];
      traces.push({
        ...at(known), name: text(by.name), customdata: values,
        hovertemplate: `%{text}: %{customdata:.4g}<extra></extra>`,
        marker: {
          size: 5, color: values, cmin: end(0.02), cmax: end(0.98), colorscale: "Viridis", showscale: true,
          colorbar: { thickness: 10, outlinewidth: 0 },
        },
      });
      return traces;
    }
    // Large classes first, so that small ones are not hidden below them.
    by.names
      .map((name, place) => ({ name, place, some: known.filter((i) => by.values[i] === place) }))
      .filter((one) => one.some.length)
      .sort((a, b) => b.some.length - a.some.length || a.place - b.place)
      .forEach(({ name, place, some }) => {
        const rest = name === "other" || name === "neither";
        traces.push({
          ...at(some), name: text(name.length > 40 ? name.slice(0, 39) + "…" : name),
          hovertemplate: `%{text}<extra>${text(name).replace(/%/g, "%%")}</extra>`,
          marker: { size: rest ? 4 : 6, color: rest ? OTHER : COLOURS[place % COLOURS.length], opacity: rest ? 0.4 : 0.85 },
        });
      });
    return traces;
  };

  const drawMap = (place) => {
    const map = data.maps[place.dataset.map];
    const select = document.querySelector(`[data-colour="${place.dataset.map}"]`);
    const by = map.colourings[Number(select.value)];
    const plain = { showgrid: false, zeroline: false, showticklabels: false };
    const told = {
      height: 620, xaxis: { ...plain }, yaxis: { ...plain, scaleanchor: "x" }, showlegend: by.names !== null, hovermode: "closest",
    };
    return Plotly.react(place, mapTraces(map, by), layout(told), CONFIG);
  };

  const draw = (place) => {
    place.dataset.drawn = "yes";
    return place.dataset.chart === undefined ? drawMap(place) : drawChart(place);
  };

  const charts = [...document.querySelectorAll(".chart")];
  charts.forEach((place) => {
    const figure = data.charts[place.dataset.chart];
    place.style.minHeight = `${figure ? figure.layout.height : 620}px`;
  });
  const seen = new IntersectionObserver(
    (entries) => entries.filter((one) => one.isIntersecting).forEach((one) => {
      seen.unobserve(one.target);
      draw(one.target);
    }),
    { rootMargin: "400px" },
  );
  charts.forEach((place) => seen.observe(place));

  const redraw = () => charts.filter((place) => place.dataset.drawn).forEach(draw);
  document.querySelectorAll("select[data-colour]").forEach((select) =>
    select.addEventListener("change", () => draw(document.querySelector(`[data-map="${select.dataset.colour}"]`))));
  document.getElementById("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => charts.forEach(draw));
  document.querySelectorAll("img[data-picture]").forEach((image) => {
    image.loading = "lazy";
    image.src = data.pictures[image.dataset.picture];
  });
})();
