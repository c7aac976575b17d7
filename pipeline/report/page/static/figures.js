/* The figures, drawn by plotly in the colours of the page. */

const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
const still = { displayModeBar: false, responsive: true, doubleClick: "reset", showTips: false };

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axis(more = {}) {
  return { gridcolor: color("line"), zerolinecolor: color("line"), linecolor: color("line"), automargin: true, fixedrange: true, ...more };
}

function layout(more = {}) {
  return {
    font: { family: color("sans"), size: 12, color: color("muted") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 8, t: 8, b: 8 },
    hoverlabel: { bgcolor: color("surface"), bordercolor: color("line"), font: { color: color("text") } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    barmode: "overlay",
    bargap: 0.08,
    dragmode: false,
    ...more,
  };
}

const middles = (edges) => edges.slice(1).map((edge, at) => (edge + edges[at]) / 2);
const widths = (edges) => edges.slice(1).map((edge, at) => edge - edges[at]);

/* Bars, or steps where the bins are wider and wider: those have an axis of logarithms. */
function histogram({ name, edges, counts, reference, trained }) {
  const total = counts.reduce((sum, count) => sum + count, 0) || 1;
  const here = reference ? counts.map((count) => count / total) : counts;
  const logarithms = edges[0] > 0 && edges.at(-1) - edges.at(-2) > 2 * (edges[1] - edges[0]);
  const hovertemplate = `%{x:.4g}: %{y:${reference ? ".2%" : ","}}<extra></extra>`;
  const steps = (y, ink) => ({ type: "scatter", mode: "lines", x: edges, y: [...y, y.at(-1)], line: { shape: "hv", color: ink, width: 2 }, hovertemplate });
  const traces = [logarithms
    ? { ...steps(here, color("accent")), name: "here", fill: "tozeroy", fillcolor: `${color("accent")}55` }
    : { type: "bar", name: "here", x: middles(edges), width: widths(edges), y: here, marker: { color: color("accent"), opacity: 0.85 }, hovertemplate }];
  if (reference) traces.push({ ...steps(reference, color("warn")), name: "there" });
  const most = Math.max(...here, ...(reference ?? []));
  return [traces, layout({
    xaxis: axis({ title: { text: name, standoff: 8 }, showgrid: false, exponentformat: "power", type: logarithms ? "log" : "linear" }),
    yaxis: axis({ tickformat: reference ? ".0%" : most < 1000 ? "d" : "~s", rangemode: "tozero", dtick: !reference && most < 6 ? 1 : undefined }),
    showlegend: Boolean(reference),
    ...shaded(trained),
  })];
}

/* The range that a model was trained with. */
function shaded(trained) {
  if (!trained) return {};
  return {
    shapes: [{
      type: "rect", xref: "x", yref: "paper", x0: trained[0], x1: trained[1], y0: 0, y1: 1,
      fillcolor: color("accent"), opacity: 0.12, line: { width: 0 }, layer: "below",
    }],
    annotations: [{
      text: "trained", x: trained[0], xref: "x", y: 1, yref: "paper", xanchor: "left", yanchor: "top", showarrow: false,
      font: { color: color("accent") },
    }],
  };
}

function rateOverTime({ seconds, rates }) {
  const [unit, length] = [["hours", 3600], ["minutes", 60], ["seconds", 1]].find(([, one]) => seconds.at(-1) >= 3 * one) ?? ["seconds", 1];
  const trace = {
    type: "scatter", mode: "lines", x: seconds.map((second) => second / length), y: [...rates, rates.at(-1)], fill: "tozeroy", fillcolor: `${color("accent")}22`,
    line: { shape: "hv", color: color("accent"), width: 2 }, hovertemplate: `%{x:.3g} ${unit}: %{y:.4s} records/s<extra></extra>`,
  };
  return [[trace], layout({
    xaxis: axis({ title: { text: `${unit} since the run began`, standoff: 8 }, showgrid: false }),
    yaxis: axis({ rangemode: "tozero", tickformat: "~s" }),
  })];
}

function dimensions({ values, dead }) {
  const many = values.length > 400;
  const x = values.map((_, at) => at);
  const marker = { color: color("accent") };
  const hovertemplate = "dimension %{x}: %{y:.4g}<extra></extra>";
  const traces = [many
    ? { type: "scatter", mode: "lines", x, y: values, line: { ...marker, width: 1 }, hovertemplate }
    : { type: "bar", x, y: values, marker, hovertemplate }];
  if (dead.length) {
    traces.push({
      type: "scatter", mode: "markers", x: dead, y: dead.map(() => 0), hovertemplate: "dimension %{x} does not vary<extra></extra>",
      marker: { symbol: "x", size: 8, color: color("bad") },
    });
  }
  return [traces, layout({
    xaxis: axis({ title: { text: "dimension", standoff: 8 }, showgrid: false, zeroline: false }),
    yaxis: axis({ tickformat: "~g" }), showlegend: false,
  })];
}

function drift({ names, ks }) {
  const trace = {
    type: "bar", x: names, y: ks, marker: { color: color("accent") }, hovertemplate: "%{x}: KS %{y:.4f}<extra></extra>",
  };
  return [[trace], layout({
    xaxis: axis({ type: "category", showgrid: false, tickangle: names.length > 8 ? -45 : 0 }),
    yaxis: axis({ range: [0, Math.max(...ks, 0.05) * 1.08], tickformat: ".2f" }),
  })];
}

const DRAWN = { histogram, rate: rateOverTime, dimensions, drift };

/* What is drawn on paper has the size that it has there, which is known before the paper is. */
function sized(element, form) {
  if (!paper.matches) return form;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  return { ...form, width: Math.min(element.clientWidth, 680), height: (element.classList.contains("tall") ? 32 : 19) * rem };
}

function draw(element) {
  const facts = DATA.figures[element.dataset.figure];
  const [traces, form] = DRAWN[facts.kind](facts);
  react(element, traces, form);
}

/* A figure is one image with a label; its marks and numbers are not read out one by one. */
function react(element, traces, form) {
  Plotly.react(element, traces, sized(element, form), still);
  element.querySelector(".plot-container").setAttribute("aria-hidden", "true");
}

function drawAll() {
  for (const element of all("[data-figure]:not([data-figure=map])")) draw(element);
  map?.draw();
}

/* Plotly comes compressed; it is unpacked here and run as the script that it is. */
async function loadPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (one) => one.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = make("script", { src: URL.createObjectURL(new Blob([await new Response(stream).blob()], { type: "text/javascript" })) });
  await new Promise((done, failed) => { script.onload = done; script.onerror = failed; document.head.append(script); });
  URL.revokeObjectURL(script.src);
}
