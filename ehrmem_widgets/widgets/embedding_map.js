// The map of embeddings on a canvas. All points are drawn once into a base layer; a frame copies it and adds the query.
const KINDS = [["seen in training", "#0072B2"], ["not seen in training", "#E69F00"], ["other", "#8A8A8A"]];
const PATIENT = "#D55E00";
const LED_TO = "#CC79A7";
const MARGIN = 18;
const STRIDE = 7919; // a prime

const DRAW = [
  (c) => { c.beginPath(); c.arc(0, 0, 2.4, 0, 7); c.fill(); },
  (c) => { c.beginPath(); c.arc(0, 0, 2.2, 0, 7); c.stroke(); },
  (c) => { c.beginPath(); c.moveTo(-2, -2); c.lineTo(2, 2); c.moveTo(-2, 2); c.lineTo(2, -2); c.stroke(); },
];

function theme(el) {
  const style = getComputedStyle(el);
  return {
    ink: style.getPropertyValue("--jp-ui-font-color1").trim() || "#111",
    paper: style.getPropertyValue("--jp-layout-color1").trim() || "#fff",
  };
}

function bytes(view) {
  if (!view) return new Uint8Array(0);
  if (view instanceof ArrayBuffer) return new Uint8Array(view);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function floats(view) {
  const raw = bytes(view);
  return new Float32Array(raw.slice().buffer); // a copy, because a view may start at any byte
}

function drawKind(c, kind, colour) {
  c.fillStyle = colour;
  c.strokeStyle = colour;
  c.lineWidth = 1.1;
  DRAW[kind](c);
}

// A small picture of one point: copying it is far cheaper than 20,000 arcs.
function sprite(kind, ratio, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.ceil(8 * ratio);
  const c = canvas.getContext("2d");
  c.setTransform(ratio * size, 0, 0, ratio * size, 4 * ratio, 4 * ratio);
  drawKind(c, kind, KINDS[kind][1]);
  return canvas;
}

function drawPatient(c, x, y, paper) {
  c.fillStyle = c.strokeStyle = PATIENT;
  c.lineWidth = 2;
  c.beginPath(); c.arc(x, y, 11, 0, 7); c.stroke();
  c.beginPath(); c.moveTo(x, y - 7); c.lineTo(x + 7, y); c.lineTo(x, y + 7); c.lineTo(x - 7, y); c.closePath(); c.fill();
  c.strokeStyle = paper; c.lineWidth = 1; c.stroke();
}

function drawRing(c, x, y, ink, paper) {
  c.beginPath(); c.arc(x, y, 6.5, 0, 7);
  c.strokeStyle = paper; c.lineWidth = 3.5; c.stroke();
  c.strokeStyle = ink; c.lineWidth = 1.5; c.stroke();
}

// From what the attacker holds to where each continuation leads, beneath the other marks.
function drawWays(c, from, ends) {
  c.strokeStyle = LED_TO;
  c.lineWidth = 1.2;
  c.beginPath();
  for (const end of ends) { c.moveTo(...from); c.lineTo(...end); }
  c.stroke();
}

function drawLedTo(c, x, y, paper) {
  c.fillStyle = LED_TO;
  c.strokeStyle = paper;
  c.lineWidth = 1;
  c.beginPath(); c.rect(x - 4.5, y - 4.5, 9, 9); c.fill(); c.stroke();
}

function drawQuery(c, x, y, ink, paper, dashed) {
  c.beginPath(); c.moveTo(x - 15, y); c.lineTo(x + 15, y); c.moveTo(x, y - 15); c.lineTo(x, y + 15);
  c.strokeStyle = paper; c.lineWidth = 6; c.stroke();
  c.setLineDash(dashed ? [5, 4] : []);
  c.strokeStyle = ink; c.lineWidth = 3; c.stroke();
  c.setLineDash([]);
}

// Map coordinates to canvas: the same scale both ways, y upwards.
function fit(points, width, height) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    x0 = Math.min(x0, points[i]); x1 = Math.max(x1, points[i]);
    y0 = Math.min(y0, points[i + 1]); y1 = Math.max(y1, points[i + 1]);
  }
  const k = Math.min((width - 2 * MARGIN) / Math.max(x1 - x0, 1e-9), (height - 2 * MARGIN) / Math.max(y1 - y0, 1e-9));
  const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2];
  return (x, y) => [width / 2 + (x - mx) * k, height / 2 - (y - my) * k];
}

function legendItem(words, draw) {
  const canvas = document.createElement("canvas");
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = 16 * ratio;
  canvas.style.cssText = "width:16px;height:16px;vertical-align:-3px;margin-right:5px";
  canvas.setAttribute("aria-hidden", "true");
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 8 * ratio, 8 * ratio);
  draw(c);
  const item = document.createElement("span");
  item.style.whiteSpace = "nowrap";
  item.append(canvas, words);
  return item;
}

function legend({ ink, paper }) {
  const scaled = (factor, draw) => (c) => { c.scale(factor, factor); draw(c); };
  return [
    ...KINDS.map(([words, colour], kind) => legendItem(words, scaled(1.7, (c) => drawKind(c, kind, colour)))),
    legendItem("what the attacker holds (dashed: placed roughly)", scaled(0.5, (c) => drawQuery(c, 0, 0, ink, paper, false))),
    legendItem("where the model's own continuations lead", (c) => { drawWays(c, [-8, 0], [[0, 0]]); drawLedTo(c, 0, 0, paper); }),
    legendItem("this patient's own record", scaled(0.6, (c) => drawPatient(c, 0, 0, paper))),
    legendItem("the nearest ten", scaled(0.95, (c) => drawRing(c, 0, 0, ink, paper))),
  ];
}

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  const key = document.createElement("div");
  const sentence = document.createElement("p");
  canvas.setAttribute("role", "img");
  canvas.style.cssText = "display:block;width:100%;box-sizing:border-box;border:1px solid var(--jp-border-color2,#ccc);border-radius:3px";
  key.style.cssText = "display:flex;flex-wrap:wrap;gap:2px 16px;font-size:12px;margin:6px 0 2px";
  sentence.style.cssText = "margin:2px 0;min-height:18px;font-size:13px;line-height:1.4";
  el.style.color = "var(--jp-ui-font-color1,#111)";
  el.style.fontFamily = "var(--jp-ui-font-family,system-ui,sans-serif)";
  el.append(canvas, key, sentence);

  const base = document.createElement("canvas");
  let points = new Float32Array(0);
  let kinds = new Uint8Array(0);
  let at = (x, y) => [x, y];
  let colours = theme(el);
  let ratio = 1;
  let stale = true;
  let asked = 0;

  function readPoints() {
    points = floats(model.get("points"));
    kinds = bytes(model.get("kinds"));
    redraw();
  }

  function drawBase() {
    ratio = window.devicePixelRatio || 1;
    const height = model.get("height");
    canvas.style.height = `${height + 2}px`; // with its border
    const width = canvas.clientWidth;
    if (!width) return false; // hidden: the resize observer calls again
    canvas.width = base.width = Math.round(width * ratio);
    canvas.height = base.height = Math.round(height * ratio);
    colours = theme(el);
    at = fit(points, width, height);
    const c = base.getContext("2d");
    c.fillStyle = colours.paper;
    c.fillRect(0, 0, base.width, base.height);
    const n = kinds.length;
    c.globalAlpha = n > 4000 ? 0.7 : 0.85;
    const half = 4 * ratio;
    const pictures = KINDS.map((_, kind) => sprite(kind, ratio, n > 4000 ? 0.65 : 1));
    const stride = n % STRIDE ? STRIDE : 1; // all points in mixed order, so that no kind lies on top of the others
    for (let j = 0; j < n; j++) {
      const i = (j * stride) % n;
      const [x, y] = at(points[2 * i], points[2 * i + 1]);
      c.drawImage(pictures[kinds[i]], Math.round(x * ratio - half), Math.round(y * ratio - half));
    }
    key.replaceChildren(...legend(colours));
    stale = false;
    return true;
  }

  function frame() {
    asked = 0;
    if (stale && !drawBase()) return;
    const c = canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(base, 0, 0);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const place = (i) => at(points[2 * i], points[2 * i + 1]);
    const known = (i) => i >= 0 && 2 * i + 1 < points.length;
    // What lies beyond the map's edge stays visible at the edge.
    const inside = (v, most) => Math.min(Math.max(v, 8), most - 8);
    const shown = ([x, y]) => [inside(x, canvas.width / ratio), inside(y, canvas.height / ratio)];
    const query = points.length ? model.get("query") || [] : [];
    const ends = points.length ? (model.get("led_to") || []).map((place) => shown(at(...place))) : [];
    if (query.length === 2) drawWays(c, shown(at(...query)), ends);
    for (const i of model.get("nearest") || []) if (known(i)) drawRing(c, ...place(i), colours.ink, colours.paper);
    for (const end of ends) drawLedTo(c, ...end, colours.paper);
    if (known(model.get("patient"))) drawPatient(c, ...place(model.get("patient")), colours.paper);
    if (query.length === 2) drawQuery(c, ...shown(at(...query)), colours.ink, colours.paper, model.get("approximate"));
    if (!points.length) {
      c.fillStyle = colours.ink;
      c.font = "13px system-ui, sans-serif";
      c.fillText("There is no map of the records yet.", 14, 26);
    }
  }

  function draw() {
    if (!asked) asked = requestAnimationFrame(frame);
  }

  function redraw() {
    stale = true;
    draw();
  }

  function describe() {
    const words = model.get("description") || "";
    sentence.textContent = words;
    canvas.setAttribute("aria-label", words || "Map of the records' embeddings");
  }

  const handlers = [
    ["change:points", readPoints], ["change:kinds", readPoints], ["change:height", redraw], ["change:query", draw], ["change:led_to", draw],
    ["change:nearest", draw], ["change:patient", draw], ["change:approximate", draw], ["change:description", describe],
  ];
  for (const [event, handler] of handlers) model.on(event, handler);
  const themes = new MutationObserver(redraw);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  const sizes = new ResizeObserver(() => { if (canvas.clientWidth !== Math.round(canvas.width / ratio)) redraw(); });
  sizes.observe(el);
  describe();
  readPoints();
  return () => {
    for (const [event, handler] of handlers) model.off(event, handler);
    themes.disconnect();
    sizes.disconnect();
    cancelAnimationFrame(asked);
  };
}

export default { render };
