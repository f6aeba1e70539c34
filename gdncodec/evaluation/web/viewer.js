"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const views = data.views;
  if (!views.length) return;
  const $ = (id) => document.getElementById(id);
  $("viewer").hidden = false;
  const stage = $("stage"), context = stage.getContext("2d");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const state = { mode: "slider", zoom: 1, x: 0, y: 0, split: 0.5, second: false, paused: still, fit: true };
  let pair = null, difference = null, ticket = 0;

  const option = (select, text, value) => {
    const o = document.createElement("option");
    o.textContent = text;
    o.value = value;
    select.append(o);
  };
  const view = () => views[Number($("view-image").value)];
  const target = () => view().targets[Number($("view-target").value)];
  const original = { codec: "Original", size: null };
  const itemOf = (name) => target().items.find((i) => i.codec === name) || { ...original, image: view().original };

  const refill = (select, texts, wanted) => {
    select.replaceChildren();
    texts.forEach(([text, value]) => option(select, text, value));
    if (texts.some(([, value]) => value === wanted)) select.value = wanted;
  };
  const fillTargets = () => {
    const before = $("view-target").value;
    refill($("view-target"), view().targets.map((t, i) => [t.label, String(i)]), before);
    fillCodecs();
  };
  const fillCodecs = () => {
    const names = ["Original", ...target().items.map((i) => i.codec)];
    const a = $("view-a").value, b = $("view-b").value;
    refill($("view-a"), names.map((n) => [n, n]), a || names[Math.min(1, names.length - 1)]);
    refill($("view-b"), names.map((n) => [n, n]), b || names[Math.min(2, names.length - 1)]);
    load();
  };

  const images = new Map();
  const imageOf = (id) => {
    if (!images.has(id)) {
      const image = new Image();
      image.src = "data:image/webp;base64," + $(id).textContent.trim();
      images.set(id, image);
      if (images.size > 24) images.delete(images.keys().next().value);
    }
    return images.get(id);
  };

  const load = async () => {
    const mine = ++ticket;
    const a = itemOf($("view-a").value), b = itemOf($("view-b").value);
    const found = [imageOf(a.image), imageOf(b.image)];
    await Promise.all(found.map((i) => i.decode()));
    if (mine !== ticket) return; // another choice was made meanwhile
    const sized = !pair || pair[0].width !== found[0].width || pair[0].height !== found[0].height;
    pair = found;
    difference = null;
    caption($("caption-a"), "A", a, b);
    caption($("caption-b"), "B", b, a);
    $("view-note").textContent = view().note;
    stage.setAttribute("aria-label", `${view().image}: A is ${a.codec}, B is ${b.codec}`);
    if (sized || state.fit) fit();
    else draw();
  };

  const caption = (element, letter, item, other) => {
    const name = document.createElement("b");
    name.textContent = `${letter}: ${item.codec}`;
    if (item.size === null) return element.replaceChildren(name, "the image itself");
    const psnr = item.psnr === null ? "no difference" : `${item.psnr.toFixed(2)} dB PSNR`;
    const ms = item.ms === null ? "" : `, ${item.ms.toFixed(2)} dB MS-SSIM`;
    let text = `${item.size.toLocaleString("en")} bytes, ${item.bpp.toFixed(3)} bpp, ${psnr}${ms}`;
    if (other.size !== null && item.size > other.size * 1.03) {
      text += `; ${Math.round((item.size / other.size - 1) * 100)} % larger than the other`;
    }
    return element.replaceChildren(name, text);
  };

  // Geometry, in CSS pixels: the image's middle is at (x, y) of its own, zoom is CSS pixels a pixel.
  // Side by side is one above the other where there is more height than width.
  const panel = () => {
    const width = stage.clientWidth, height = stage.clientHeight, tall = width < height;
    if (state.mode !== "side") return { width, height, dx: 0, dy: 0 };
    return tall ? { width, height: height / 2, dx: 0, dy: height / 2 } : { width: width / 2, height, dx: width / 2, dy: 0 };
  };
  const fit = () => {
    const p = panel();
    state.zoom = Math.min(p.width / pair[0].width, p.height / pair[0].height);
    state.x = pair[0].width / 2;
    state.y = pair[0].height / 2;
    state.fit = true;
    draw();
  };
  const zoomTo = (zoom, px, py) => {
    if (!pair) return;
    const p = panel(), dx = (px ?? p.width / 2) - p.width / 2, dy = (py ?? p.height / 2) - p.height / 2;
    const next = Math.min(Math.max(zoom, 0.05), 32);
    state.x += dx / state.zoom - dx / next;
    state.y += dy / state.zoom - dy / next;
    state.zoom = next;
    state.fit = false;
    draw();
  };
  const pan = (dx, dy) => {
    state.x -= dx / state.zoom;
    state.y -= dy / state.zoom;
    state.fit = false;
    draw();
  };

  const differenceImage = () => {
    const gain = Number($("view-gain").value);
    if (difference && difference.gain === gain) return difference.canvas;
    const { width, height } = pair[0];
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const c = canvas.getContext("2d", { willReadFrequently: true });
    const [a, b] = pair.map((image) => {
      c.drawImage(image, 0, 0);
      return c.getImageData(0, 0, width, height);
    });
    for (let i = 0; i < a.data.length; i++) {
      if (i % 4 !== 3) a.data[i] = Math.abs(a.data[i] - b.data[i]) * gain; // clamped by its type
    }
    c.putImageData(a, 0, 0);
    difference = { gain, canvas };
    return canvas;
  };

  const paint = (image, left, top, from, to) => {
    const { width, height } = panel();
    context.save();
    context.beginPath();
    context.rect(left + from * width, top, (to - from) * width, height);
    context.clip();
    context.imageSmoothingEnabled = state.zoom * (devicePixelRatio || 1) < 2;
    context.imageSmoothingQuality = "high";
    const x = left + width / 2 - state.x * state.zoom, y = top + height / 2 - state.y * state.zoom;
    context.drawImage(image, x, y, image.width * state.zoom, image.height * state.zoom);
    context.restore();
  };
  const tag = (text, x, right, y = 8) => {
    context.font = "600 14px system-ui, sans-serif";
    const width = context.measureText(text).width + 14, left = right ? x - width - 8 : x + 8;
    context.fillStyle = "rgba(0, 0, 0, 0.65)";
    context.fillRect(left, y, width, 26);
    context.fillStyle = "#fff";
    context.fillText(text, left + 7, y + 18);
  };
  const line = (x) => {
    context.fillStyle = "#fff";
    context.fillRect(x - 1, 0, 2, stage.clientHeight);
  };

  const draw = () => {
    if (!pair) return;
    const ratio = devicePixelRatio || 1, width = stage.clientWidth, height = stage.clientHeight;
    stage.width = Math.round(width * ratio);
    stage.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [a, b] = pair, names = [$("view-a").value, $("view-b").value];
    if (state.mode === "side") {
      const p = panel();
      paint(a, 0, 0, 0, 1);
      paint(b, p.dx, p.dy, 0, 1);
      context.fillStyle = "#fff";
      if (p.dx) line(p.dx);
      else context.fillRect(0, p.dy - 1, width, 2);
    } else if (state.mode === "slider") {
      paint(a, 0, 0, 0, state.split);
      paint(b, 0, 0, state.split, 1);
      line(width * state.split);
      context.beginPath();
      context.arc(width * state.split, height / 2, 11, 0, 7);
      context.fill();
      context.fillStyle = "#444";
      context.font = "700 13px system-ui, sans-serif";
      context.fillText("\u2194", width * state.split - 6.5, height / 2 + 4.5);
    } else if (state.mode === "flicker") paint(state.second ? b : a, 0, 0, 0, 1);
    else paint(differenceImage(), 0, 0, 0, 1);
    if (state.mode === "difference") tag("|A \u2212 B|", 0, false);
    else if (state.mode === "flicker") tag(state.second ? `B: ${names[1]}` : `A: ${names[0]}`, 0, false);
    else {
      tag(`A: ${names[0]}`, 0, false);
      const below = state.mode === "side" ? panel().dy : 0;
      tag(`B: ${names[1]}`, below ? 0 : width, !below, 8 + below);
    }
    $("zoom-value").textContent = `${Math.round(state.zoom * 100)} %`;
  };

  const setMode = (mode) => {
    state.mode = mode;
    for (const button of $("view-mode").children) {
      const on = button.dataset.mode === mode;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
    }
    $("split-label").hidden = mode !== "slider";
    $("split-label").style.display = mode === "slider" ? "" : "none";
    $("gain-label").hidden = mode !== "difference";
    $("gain-label").style.display = mode === "difference" ? "" : "none";
    $("flicker-pause").hidden = mode !== "flicker";
    if (pair && state.fit) fit();
    else draw();
  };
  const setSplit = (share) => {
    state.split = Math.min(Math.max(share, 0), 1);
    $("view-split").value = String(state.split * 100);
    draw();
  };
  const pause = (on) => {
    state.paused = on;
    $("flicker-pause").textContent = on ? "Play" : "Pause";
  };
  const swap = () => {
    const a = $("view-a").value;
    $("view-a").value = $("view-b").value;
    $("view-b").value = a;
    load();
  };
  const step = (by) => {
    const select = $("view-image");
    select.value = String((Number(select.value) + by + views.length) % views.length);
    fillTargets();
  };
  const other = () => {
    pause(true);
    state.second = !state.second;
    draw();
  };

  const fingers = new Map();
  let sliding = false;
  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  stage.addEventListener("pointerdown", (event) => {
    const p = at(event);
    fingers.set(event.pointerId, p);
    stage.setPointerCapture(event.pointerId);
    sliding = state.mode === "slider" && fingers.size === 1 && Math.abs(p.x - state.split * stage.clientWidth) < 22;
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before || !pair) return;
    const p = at(event);
    if (sliding) setSplit(p.x / stage.clientWidth);
    else if (fingers.size === 2) {
      const [still] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, q]) => q);
      const far = (q) => Math.hypot(q.x - still.x, q.y - still.y) || 1;
      zoomTo((state.zoom * far(p)) / far(before), ((p.x + still.x) / 2) % panel().width, ((p.y + still.y) / 2) % panel().height);
    } else pan(p.x - before.x, p.y - before.y);
    fingers.set(event.pointerId, p);
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => fingers.delete(event.pointerId));
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const p = at(event);
    zoomTo(state.zoom * Math.exp(-event.deltaY / 300), p.x % panel().width, p.y % panel().height);
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => {
    const p = at(event);
    if (state.zoom >= 4) fit();
    else zoomTo(4, p.x % panel().width, p.y % panel().height);
  });

  const keys = {
    ArrowLeft: () => pan(40, 0), ArrowRight: () => pan(-40, 0), ArrowUp: () => pan(0, 40), ArrowDown: () => pan(0, -40),
    "+": () => zoomTo(state.zoom * 1.5), "=": () => zoomTo(state.zoom * 1.5), "-": () => zoomTo(state.zoom / 1.5),
    0: fit, 1: () => zoomTo(1 / (devicePixelRatio || 1)), ",": () => setSplit(state.split - 0.02), ".": () => setSplit(state.split + 0.02),
    " ": other, x: swap, n: () => step(1), p: () => step(-1),
    s: () => setMode("slider"), b: () => setMode("side"), f: () => setMode("flicker"), d: () => setMode("difference"),
  };
  stage.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  const modes = [...$("view-mode").children];
  modes.forEach((button, i) => {
    button.addEventListener("click", () => setMode(button.dataset.mode));
    button.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const next = modes[(i + by + modes.length) % modes.length];
      next.focus();
      setMode(next.dataset.mode);
    });
  });
  $("view-image").addEventListener("change", fillTargets);
  $("view-target").addEventListener("change", fillCodecs);
  $("view-a").addEventListener("change", load);
  $("view-b").addEventListener("change", load);
  $("view-swap").addEventListener("click", swap);
  $("view-split").addEventListener("input", (event) => setSplit(event.target.value / 100));
  $("view-gain").addEventListener("input", (event) => { $("gain-value").textContent = event.target.value; draw(); });
  $("zoom-in").addEventListener("click", () => zoomTo(state.zoom * 1.5));
  $("zoom-out").addEventListener("click", () => zoomTo(state.zoom / 1.5));
  $("zoom-fit").addEventListener("click", fit);
  $("zoom-one").addEventListener("click", () => zoomTo(1 / (devicePixelRatio || 1)));
  $("flicker-pause").addEventListener("click", () => pause(!state.paused));
  setInterval(() => {
    if (state.mode !== "flicker" || state.paused || !pair) return;
    state.second = !state.second;
    draw();
  }, 700);
  new ResizeObserver(() => (pair && state.fit ? fit() : draw())).observe(stage);

  views.forEach((v, i) => option($("view-image"), v.image, String(i)));
  pause(still);
  setMode("slider");
  fillTargets();
})();
