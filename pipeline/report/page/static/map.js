/* The map of the latents: colours, thumbnails, and the keys of what is chosen. */

const HUES = [
  "#2a9d8f", "#e76f51", "#4f7cac", "#e9b44c", "#a06cd5", "#7cb518", "#d1495b", "#00a6d6", "#b08968", "#f28fb1",
  "#5c7f5a", "#f4a259", "#6d83f2", "#c0ca33", "#8d6e97", "#26c6a6", "#c97b84", "#90a4ae", "#bc6c25", "#8a8f98",
];
const SCALE = [[0, "#3b6fb6"], [0.25, "#2a9d8f"], [0.5, "#9bb849"], [0.75, "#e9b44c"], [1, "#e2603b"]];
const MOST_SHOWN = 30; // thumbnails of chosen records

class LatentMap {
  constructor(root, facts) {
    this.facts = facts;
    this.find = (selector) => root.querySelector(selector);
    this.plot = this.find(".plot");
    this.card = document.querySelector(".hover");
    this.drag = "lasso";
    this.by = this.find("#map-color");
    this.by?.addEventListener("change", () => { this.choose([]); this.draw(); this.legend(); });
    this.find("#map-find").addEventListener("input", (event) => this.search(event.target.value));
    this.find("[data-reset]").addEventListener("click", () => this.reset());
    this.find("[data-copy-keys]").addEventListener("click", (event) => copy(this.find("textarea").value, event.target));
    for (const button of all("[data-drag]", root)) button.addEventListener("click", () => this.dragWith(button));
  }

  get color() {
    return this.facts.colors[this.by ? this.by.value : -1];
  }

  /* Draws the points, and listens to plotly once they are there. */
  draw() {
    const { x, y, explained } = this.facts;
    const trace = {
      type: webgl() ? "scattergl" : "scatter", mode: "markers", x, y, hoverinfo: "none", marker: this.marker(),
      selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 0.12 } }, selectedpoints: this.chosen?.length ? this.chosen : null,
    };
    const title = (number) => ({ text: explained ? `axis ${number}: ${(100 * explained[number - 1]).toFixed(1)}% of the variance` : `axis ${number}` });
    const free = (number) => axis({ title: title(number), fixedrange: false, showgrid: false, zeroline: false, showticklabels: false });
    const form = layout({
      dragmode: this.drag, hovermode: "closest", uirevision: "kept", selectionrevision: "kept",
      xaxis: free(1), yaxis: free(2), newselection: { line: { color: color("accent") } },
    });
    react(this.plot, [trace], form);
    if (this.listening) return;
    this.listening = true;
    this.legend();
    this.plot.on("plotly_hover", (event) => this.hover(event));
    this.plot.on("plotly_unhover", () => { this.card.hidden = true; });
    this.plot.on("plotly_selected", (event) => this.lasso(event?.points ?? []));
    this.plot.on("plotly_deselect", () => this.lasso([]));
    this.plot.on("plotly_click", (event) => this.pick(event.points.map((point) => point.pointIndex)));
  }

  marker() {
    const size = this.facts.x.length > 3000 ? 4 : 7;
    const { values, categories } = this.color ?? {};
    if (!values) return { size, color: color("accent"), opacity: 0.8 };
    if (categories) return { size, opacity: 0.8, color: values.map((value) => (value === null ? color("line") : hue(value))) };
    return {
      size, opacity: 0.8, color: values, colorscale: SCALE,
      colorbar: { thickness: 10, len: 0.6, outlinewidth: 0, tickformat: "~g", tickfont: { color: color("muted") } },
    };
  }

  /* A button for each category: it chooses the records of it. */
  legend() {
    const { values, categories } = this.color ?? {};
    this.find(".legend").replaceChildren(...(categories ?? []).map((category, at) => {
      const button = make("button", { type: "button" });
      const dot = make("i");
      dot.style.background = hue(at);
      button.append(dot, category);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        const off = button.getAttribute("aria-pressed") === "true";
        this.pick(off ? [] : values.flatMap((value, row) => (value === at ? [row] : [])));
        button.setAttribute("aria-pressed", String(!off));
      });
      return button;
    }));
  }

  hover(event) {
    const [{ pointIndex }] = event.points;
    const { keys, shards, shard, index, thumbnails } = this.facts;
    const text = make("span");
    text.append(make("b", { textContent: keys[pointIndex] }), make("br"), `${shards[shard[pointIndex]]}[${index[pointIndex]}]`);
    if (this.color) text.append(make("br"), `${this.color.name}: ${this.valueAt(pointIndex)}`);
    const thumbnail = thumbnails[pointIndex];
    const parts = thumbnail ? [make("img", { src: uriOf(thumbnail.id), alt: "", className: thumbnail.small ? "small-source" : "" })] : [];
    this.card.replaceChildren(...parts, text);
    this.card.hidden = false;
    const { clientX, clientY } = event.event;
    const { width, height } = this.card.getBoundingClientRect();
    this.card.style.left = `${Math.max(4, Math.min(clientX + 14, innerWidth - width - 4))}px`;
    this.card.style.top = `${clientY + 14 + height > innerHeight ? clientY - height - 10 : clientY + 14}px`;
  }

  valueAt(row) {
    const { values, categories } = this.color;
    if (values[row] === null) return "none";
    return categories ? categories[values[row]] : String(values[row]);
  }

  search(text) {
    const wanted = text.trim().toLowerCase();
    this.pick(wanted ? this.facts.keys.flatMap((key, row) => (key.toLowerCase().includes(wanted) ? [row] : [])) : []);
  }

  lasso(points) {
    if (!this.picking) this.choose(points.map((point) => point.pointIndex));
  }

  /* Chooses by other means than the lasso. Its line goes away, and plotly tells that nothing is selected any more. */
  async pick(rows) {
    this.choose(rows);
    this.picking = true;
    await Plotly.update(this.plot, { selectedpoints: [rows.length ? rows : null] }, { selections: [] });
    this.picking = false;
  }

  choose(rows) {
    this.chosen = rows;
    const { keys, thumbnails } = this.facts;
    for (const button of all(".legend button", this.plot.parentElement)) button.setAttribute("aria-pressed", "false");
    this.find(".count").textContent = rows.length ? `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "record" : "records"} chosen` : "No records chosen";
    this.find("textarea").value = rows.map((row) => keys[row]).join("\n");
    this.find("[data-copy-keys]").disabled = !rows.length;
    this.find(".strip").replaceChildren(...rows.filter((row) => thumbnails[row]).slice(0, MOST_SHOWN).map((row) => make("img", {
      src: uriOf(thumbnails[row].id), alt: keys[row], title: keys[row], className: thumbnails[row].small ? "small-source" : "",
    })));
  }

  dragWith(button) {
    this.drag = button.dataset.drag;
    for (const one of all("[data-drag]")) one.setAttribute("aria-pressed", String(one === button));
    Plotly.relayout(this.plot, { dragmode: this.drag });
  }

  reset() {
    this.find("#map-find").value = "";
    this.pick([]);
    Plotly.relayout(this.plot, { "xaxis.autorange": true, "yaxis.autorange": true });
  }
}

function hue(at) {
  return HUES[at % HUES.length];
}

function webgl() {
  return Boolean(make("canvas").getContext("webgl"));
}

/* What plotly measures texts with is no part of the page. */
function hideWorkshop() {
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
}

const map = DATA.map && new LatentMap(document.getElementById("map"), DATA.map);

if (document.getElementById("plotly")) {
  loadPlotly().then(drawAll).then(hideWorkshop).catch((error) => {
    for (const element of all("[data-figure]")) {
      element.classList.add("failed");
      element.textContent = "This browser could not draw the figure.";
    }
    console.error(error);
  });
  for (const query of [dark, paper]) query.addEventListener("change", () => { if (window.Plotly) drawAll(); });
}
