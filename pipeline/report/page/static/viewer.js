"use strict";
/* Pictures, the viewer of one image, and buttons that copy. Texts of data become text nodes and values, never markup. */

const DATA = JSON.parse(document.getElementById("data").textContent);

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function uriOf(picture) {
  return DATA.pictures[picture] ?? document.getElementById(`picture-${picture}`)?.src ?? "";
}

function make(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

for (const image of all("img[data-picture]")) image.src = uriOf(image.dataset.picture);

/* ---- copying */

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text });
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.dataset.said ??= button.textContent;
  button.textContent = "Copied";
  button.focus();
  setTimeout(() => { button.textContent = button.dataset.said; }, 1500);
}

for (const button of all("[data-copy]")) {
  button.addEventListener("click", () => {
    const source = button.parentElement.querySelector("textarea, pre");
    copy(source.value ?? source.textContent, button);
  });
}

/* ---- one image: before and after, the difference, its values */

class Detail {
  constructor(holder) {
    holder.append(document.getElementById("detail").content.cloneNode(true));
    this.find = (selector) => holder.querySelector(selector);
    this.frame = this.find(".frame");
    this.range = this.find("input[type=range]");
    this.actual = this.find("[data-actual]");
    this.range.addEventListener("input", () => this.split());
    this.actual.addEventListener("click", () => this.enlarge());
    this.find("[data-copy-key]").addEventListener("click", (event) => copy(this.image.key, event.target));
    this.listen();
  }

  /* Dragging across the frame moves the slider; a click shows the part that is a pixel for a pixel. */
  listen() {
    let start = null;
    const move = (event) => {
      const box = this.frame.getBoundingClientRect();
      this.range.value = (100 * (event.clientX - box.left)) / box.width;
      this.split();
    };
    this.frame.addEventListener("pointerdown", (event) => {
      start = event.clientX;
      this.frame.setPointerCapture(event.pointerId);
    });
    this.frame.addEventListener("pointermove", (event) => {
      if (start !== null && this.image.comparison && Math.abs(event.clientX - start) > 3) move(event);
    });
    this.frame.addEventListener("pointerup", (event) => {
      if (start !== null && Math.abs(event.clientX - start) <= 3 && !this.actual.hidden) this.enlarge();
      start = null;
    });
    this.frame.addEventListener("pointercancel", () => { start = null; });
  }

  split() {
    this.frame.style.setProperty("--split", `${this.range.value}%`);
    this.range.setAttribute("aria-valuetext", `${this.range.value}% before, ${100 - this.range.value}% after`);
  }

  enlarge() {
    this.actual.setAttribute("aria-pressed", String(this.actual.getAttribute("aria-pressed") !== "true"));
    this.draw();
  }

  show(image) {
    this.image = image;
    this.actual.setAttribute("aria-pressed", "false");
    this.range.value = 50;
    this.find(".title").textContent = image.key;
    this.find(".why").textContent = image.why;
    const rows = [["in", `${image.shard}[${image.index}]`], ...image.values];
    this.find(".facts").replaceChildren(
      ...rows.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]),
    );
    this.residual(image.comparison);
    this.draw();
  }

  residual(comparison) {
    const figure = this.find(".residual");
    figure.hidden = !comparison || comparison.residual === null;
    if (figure.hidden) return;
    const picture = figure.querySelector("img");
    picture.src = uriOf(comparison.residual.id);
    picture.className = comparison.residual.small ? "small-source" : "";
    const bright = comparison.gain === "1" ? "" : `, ${comparison.gain} times as bright`;
    picture.alt = `Difference of the image before and after${bright}`;
    figure.querySelector("figcaption").textContent = `Residual${bright}`;
  }

  draw() {
    const { comparison, key } = this.image;
    const cropped = this.actual.getAttribute("aria-pressed") === "true";
    this.frame.classList.toggle("pair", Boolean(comparison));
    this.frame.classList.toggle("actual", cropped);
    this.range.hidden = !comparison;
    const sides = comparison ? comparison[cropped && comparison.crop ? "crop" : "whole"] : null;
    this.actual.hidden = !(comparison ?? this.image).enlarges;
    if (!sides) {
      this.frame.replaceChildren(this.layer(this.image.picture, `Image ${key}`, ""));
      return;
    }
    this.frame.replaceChildren(
      this.layer(sides[0], `Image ${key} before`, "before"),
      this.layer(sides[1], `Image ${key} after`, "after"),
      make("span", { className: "handle" }),
      make("span", { className: "side left", textContent: "before" }),
      make("span", { className: "side right", textContent: "after" }),
    );
    this.split();
  }

  layer(picture, alt, name) {
    if (picture === null) return make("p", { className: "muted", textContent: this.image.missing });
    const className = `${name}${picture.small ? " small-source" : ""}`;
    return make("img", { src: uriOf(picture.id), alt, className, draggable: false });
  }
}

/* Steps through some images, in a dialog or on the page. */
class Steps {
  constructor(root) {
    this.detail = new Detail(root.querySelector(".holder"));
    this.place = root.querySelector(".place");
    for (const button of all("[data-step]", root)) {
      button.addEventListener("click", () => this.show(this.at + Number(button.dataset.step)));
    }
  }

  open(images, at = 0) {
    this.images = images;
    this.show(at);
  }

  show(at) {
    this.at = (at + this.images.length) % this.images.length;
    this.place.textContent = `${this.at + 1} of ${this.images.length}`;
    this.detail.show(DATA.images[this.images[this.at]]);
  }
}

const viewer = document.getElementById("viewer");
const steps = new Steps(viewer);

for (const button of all("[data-image]")) {
  button.addEventListener("click", () => {
    const beside = all("[data-image]", button.closest(".look, .grid"));
    steps.open(beside.map((one) => Number(one.dataset.image)), beside.indexOf(button));
    viewer.showModal();
  });
}
viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && event.target.type !== "range") steps.show(steps.at + step);
});

const stage = document.getElementById("stage");
if (stage) new Steps(stage).open(stage.dataset.images.split(" ").map(Number));

/* ---- which section is being read */

const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(entry.target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "-20% 0px -70% 0px" });
for (const id of links.keys()) seen.observe(document.getElementById(id));

/* ---- the keys of a gallery */

const keys = document.querySelector("main textarea");
if (keys && DATA.keys) keys.value = DATA.keys.join("\n");
