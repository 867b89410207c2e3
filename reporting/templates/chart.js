"use strict";
// Follows the pointer, or the arrow keys, over every panel at once: panels share their sessions.
const places = JSON.parse(document.querySelector("#places").textContent);
const panels = [...document.querySelectorAll(".panel")].map((svg, n) => ({
  svg,
  ...places[n],
  caption: svg.closest("figure").querySelector("figcaption"),
  tint: svg.querySelector(".tint"),
  cross: svg.querySelector(".cross"),
  price: svg.querySelector(".price"),
}));

function barAt(panel, session) {
  let low = 0;
  let high = panel.starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (panel.starts[middle] <= session) low = middle;
    else high = middle - 1;
  }
  return low;
}

function priceAt(panel, height) {
  const [low, high, bottom, top] = panel.prices;
  const share = (height - bottom) / (top - bottom);
  return panel.log ? low * (high / low) ** share : low + share * (high - low);
}

function priceText(value) {
  const digits = value >= 10000 ? 0 : value >= 1000 ? 1 : value >= 1 ? 2 : 4;
  const fixed = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en-US", fixed);
}

function showPrice(panel, height) {
  const [, , bottom, top] = panel.prices;
  panel.price.setAttribute("transform", `translate(0 ${height})`);
  panel.price.lastChild.textContent = priceText(priceAt(panel, height));
  panel.price.style.visibility = height < top || height > bottom ? "hidden" : "visible";
}

function show(session) {
  for (const panel of panels) {
    const n = barAt(panel, session);
    const [left, , right] = panel.plot;
    const [first, after] = panel.span;
    const place = (no) => left + ((no - first) / (after - first)) * (right - left);
    panel.tint.setAttribute("x", place(panel.starts[n]));
    panel.tint.setAttribute("width", place(panel.ends[n] + 1) - place(panel.starts[n]));
    panel.tint.style.visibility = "visible";
    panel.caption.textContent = panel.readouts[n];
  }
}

function hide() {
  for (const panel of panels) {
    for (const mark of [panel.tint, panel.cross, panel.price]) mark.style.visibility = "hidden";
    panel.caption.textContent = panel.readouts[panel.readouts.length - 1];
  }
}

for (const panel of panels) {
  let session = panel.span[1] - 1;
  panel.svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = at.matrixTransform(panel.svg.getScreenCTM().inverse());
    const [left, top, right, bottom] = panel.plot;
    if (x < left || x >= right) return hide();
    const [first, after] = panel.span;
    session = Math.floor(first + ((x - left) / (right - left)) * (after - first));
    show(session);
    const height = Math.min(Math.max(y, top), bottom);
    panel.cross.setAttribute("d", `M${left} ${height}H${right}`);
    panel.cross.style.visibility = "visible";
    showPrice(panel, height);
  });
  panel.svg.addEventListener("pointerleave", hide);
  panel.svg.addEventListener("blur", hide);
  panel.svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const n = barAt(panel, session) + step;
    session = panel.starts[Math.min(Math.max(n, 0), panel.starts.length - 1)];
    show(session);
  });
  const scroll = panel.svg.parentElement;
  scroll.scrollLeft = scroll.scrollWidth;
  scroll.addEventListener("scroll", () => {
    for (const other of panels) other.svg.parentElement.scrollLeft = scroll.scrollLeft;
  });
}
