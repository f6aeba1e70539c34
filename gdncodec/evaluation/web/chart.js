"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const curves = data.curves;
  if (!curves.length) return;
  document.getElementById("curves").hidden = false;
  const $ = (id) => document.getElementById(id);
  const box = $("chart"), value = $("chart-value");
  const NS = "http://www.w3.org/2000/svg";
  const hidden = new Set();
  let drawn = [], chosen = null, scale = null;

  const option = (select, text, val) => {
    const o = document.createElement("option");
    o.textContent = text;
    o.value = val;
    select.append(o);
  };
  for (const m of data.metrics) option($("chart-metric"), m.label, m.key);
  option($("chart-image"), data.images.length ? `mean of ${data.images.length}` : "mean", "");
  data.images.forEach((name, i) => option($("chart-image"), name, String(i)));

  const make = (parent, name, attributes, text) => {
    const e = document.createElementNS(NS, name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    if (text !== undefined) e.textContent = text;
    parent.append(e);
    return e;
  };

  const pointsOf = (curve) => {
    const key = $("chart-metric").value, image = $("chart-image").value;
    const lists = image === "" ? curve.results : curve.images[Number(image)];
    if (!lists || !lists[key]) return [];
    return lists.bpp
      .map((bpp, i) => ({ bpp, y: lists[key][i], quality: lists.quality ? lists.quality[i] : null }))
      .filter((p) => p.y !== null && p.bpp > 0)
      .sort((p, q) => p.bpp - q.bpp);
  };

  const ticks = (low, high, wanted) => {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high + 1e-9; i++) found.push(i * step);
    return found.map((t) => ({ at: t, text: String(Number(t.toPrecision(6))) }));
  };
  const logTicks = (low, high) => {
    const found = [];
    for (let e = -3; e <= 2; e++) for (const m of [1, 2, 5]) {
      const t = m * 10 ** e;
      if (t >= low && t <= high) found.push({ at: t, text: String(Number(t.toPrecision(3))) });
    }
    return found;
  };

  const limits = () => {
    const shown = drawn.filter((d) => d.points.length);
    const ours = shown.filter((d) => d.curve.model);
    const far = $("chart-all").checked || !ours.length ? shown : ours;
    const high = Math.max(...far.map((d) => d.points[d.points.length - 1].bpp)) * 1.1;
    const inside = shown.flatMap((d) => d.points.filter((p) => p.bpp <= high));
    const ys = inside.map((p) => p.y), log = $("chart-log").checked;
    const low = log ? Math.min(...inside.map((p) => p.bpp)) / 1.1 : 0;
    const pad = (Math.max(...ys) - Math.min(...ys)) * 0.06 || 1;
    return { low, high, log, bottom: Math.min(...ys) - pad, top: Math.max(...ys) + pad };
  };

  const draw = () => {
    const width = box.clientWidth, height = box.clientHeight;
    const left = 48, right = width - 10, top = 8, bottom = height - 40;
    box.replaceChildren();
    const svg = make(box, "svg", { viewBox: `0 0 ${width} ${height}` });
    drawn = curves.map((curve) => ({ curve, points: hidden.has(curve.name) ? [] : pointsOf(curve) }));
    if (!drawn.some((d) => d.points.length)) {
      make(svg, "text", { x: left, y: 40 }, "No curve has this metric.");
      return;
    }
    const lim = limits(), turn = lim.log ? Math.log : (v) => v;
    const x = (v) => left + ((turn(v) - turn(lim.low)) / (turn(lim.high) - turn(lim.low))) * (right - left);
    const y = (v) => bottom - ((v - lim.bottom) / (lim.top - lim.bottom)) * (bottom - top);
    scale = { x, y, left, right, top, bottom };
    for (const t of lim.log ? logTicks(lim.low, lim.high) : ticks(lim.low, lim.high, width < 500 ? 5 : 10)) {
      make(svg, "line", { class: "grid", x1: x(t.at), x2: x(t.at), y1: top, y2: bottom });
      make(svg, "text", { x: x(t.at), y: bottom + 16, "text-anchor": "middle" }, t.text);
    }
    for (const t of ticks(lim.bottom, lim.top, 8)) {
      make(svg, "line", { class: "grid", x1: left, x2: right, y1: y(t.at), y2: y(t.at) });
      make(svg, "text", { x: left - 6, y: y(t.at) + 4, "text-anchor": "end" }, t.text);
    }
    make(svg, "text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, "bits per pixel");
    const metric = data.metrics.find((m) => m.key === $("chart-metric").value);
    make(svg, "text", { x: 0, y: 0, transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, metric.label);
    const clip = make(make(svg, "defs", {}), "clipPath", { id: "plot-area" });
    make(clip, "rect", { x: left, y: top, width: right - left, height: bottom - top });
    const area = make(svg, "g", { "clip-path": "url(#plot-area)" });
    for (const d of drawn) {
      const path = d.points.map((p, i) => `${i ? "L" : "M"}${x(p.bpp).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
      make(area, "path", { class: d.curve.model ? "curve model" : "curve", stroke: d.curve.colour, d: path });
      for (const p of d.points) make(area, "circle", { cx: x(p.bpp), cy: y(p.y), r: d.curve.model ? 4 : 3, fill: d.curve.colour });
    }
    scale.marks = make(svg, "g", {});
    mark();
  };

  const mark = () => {
    scale.marks.replaceChildren();
    const d = chosen && drawn[chosen.curve], p = d && d.points[chosen.point];
    if (!p) return;
    const x = scale.x(p.bpp), y = scale.y(p.y);
    make(scale.marks, "line", { class: "cross", x1: x, x2: x, y1: scale.top, y2: scale.bottom });
    make(scale.marks, "line", { class: "cross", x1: scale.left, x2: scale.right, y1: y, y2: y });
    make(scale.marks, "circle", { cx: x, cy: y, r: 7, fill: "none", stroke: d.curve.colour, "stroke-width": 2.5 });
    const metric = data.metrics.find((m) => m.key === $("chart-metric").value);
    const quality = p.quality === null ? "" : `, quality ${Number(p.quality.toFixed(2))}`;
    value.textContent = `${d.curve.name}${quality}: ${p.bpp.toFixed(4)} bpp, ${p.y.toFixed(metric.digits)} ${metric.unit}`;
  };

  box.addEventListener("pointermove", (event) => {
    if (!scale) return;
    const at = box.getBoundingClientRect(), px = event.clientX - at.left, py = event.clientY - at.top;
    let best = 40 ** 2;
    drawn.forEach((d, c) => d.points.forEach((p, i) => {
      const distance = (scale.x(p.bpp) - px) ** 2 + (scale.y(p.y) - py) ** 2;
      if (distance < best) { best = distance; chosen = { curve: c, point: i }; }
    }));
    mark();
  });
  box.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    const usable = drawn.map((d, i) => i).filter((i) => drawn[i].points.length);
    if (!usable.length) return;
    if (!chosen || !usable.includes(chosen.curve)) chosen = { curve: usable[0], point: 0 };
    else {
      const n = usable.indexOf(chosen.curve) + move[0];
      chosen = { curve: usable[(n + usable.length) % usable.length], point: chosen.point + move[1] };
    }
    chosen.point = Math.min(Math.max(chosen.point, 0), drawn[chosen.curve].points.length - 1);
    mark();
  });

  for (const curve of curves) {
    const item = document.createElement("li"), label = document.createElement("label");
    const check = document.createElement("input"), line = document.createElement("i");
    check.type = "checkbox";
    check.checked = true;
    check.addEventListener("change", () => {
      if (check.checked) hidden.delete(curve.name);
      else hidden.add(curve.name);
      draw();
    });
    line.style.borderTopColor = curve.colour;
    label.append(check, line, curve.name);
    label.title = curve.description;
    item.className = curve.model ? "model" : "";
    item.append(label);
    $("legend").append(item);
  }
  for (const id of ["chart-metric", "chart-image", "chart-log", "chart-all"]) $(id).addEventListener("change", draw);
  new ResizeObserver(draw).observe(box);
})();
