const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const scenes = new Map(Object.entries(data.scenes).map(([k, raw]) => {
  const { segments: table, ...rest } = raw;
  return [k, new Scene({ ...rest, table })];
}));
const stage = by("stage"), wipe = by("wipe"), regions = by("regions"), certainty = by("certainty");
let scene, shown, lit = -1, kept = -1;

const short = (v, digits = 3) => (Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en").replaceAll(",", "\u202f") : String(Number(v.toPrecision(digits))));
const percent = (share) => (100 * share).toFixed(share < 0.01 ? 2 : 1) + "%";
const list = (values, digits) => values.map((v) => short(v, digits)).join(", ");
const picked = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;

function sentence(part) {
  const more = part.certainty === undefined ? `, of segment ${part.of}` : `, certainty ${short(part.certainty)}`;
  return `${part.name}: ${part.hex}, ${percent(part.share)} of the pixels, mean ${list(part.mean)}, spread ± ${list(part.spread, 2)}${more}.`;
}

function layer(id, paint) {
  const canvas = by(id), { width, height } = scene;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  paint(new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
}

const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
function colour(r, g, b, a) {
  return (little ? (a << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | a) >>> 0;
}

function partAt(i) {
  const value = shown.map[i];
  return value === OUT ? -1 : shown.place[value];
}

function paintCut() {
  const { width, height } = scene;
  const rgb = shown.parts.map((part) => [1, 3, 5].map((i) => parseInt(part.hex.slice(i, i + 2), 16)));
  const flat = rgb.map(([r, g, b]) => colour(r, g, b, 255));
  const rim = rgb.map((c) => {
    const to = c[0] * 0.3 + c[1] * 0.6 + c[2] * 0.1 > 128 ? 0 : 255;
    return colour(...c.map((v) => Math.round(0.45 * v + 0.55 * to)), 255);
  });
  const borders = picked("view") === "regions";
  layer("cut", (pixels) => {
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const part = partAt(i);
        if (part < 0) continue;
        const edge = borders && ((x + 1 < width && partAt(i + 1) !== part) || (y + 1 < height && partAt(i + width) !== part));
        pixels[i] = edge ? rim[part] : flat[part];
      }
    }
  });
}

function paintSure() {
  by("sure").hidden = !certainty.checked;
  if (!certainty.checked) return;
  layer("sure", (pixels) => {
    const levels = Array.from({ length: 16 }, (_, v) => colour(255, 0, 120, Math.round(230 * (1 - v / 15))));
    scene.maps.certainty.forEach((v, i) => { if (scene.maps.labels[i] !== OUT) pixels[i] = levels[v]; });
  });
}

function light(index) {
  if (index === lit) return;
  lit = index;
  document.querySelectorAll("#rows tbody tr, #bar span").forEach((e) => e.classList.toggle("on", Number(e.dataset.part) === index));
  by("bar").classList.toggle("dim", index >= 0);
  by("lit").hidden = index < 0;
  by("about").textContent = index < 0 ? "Point at a segment, tap it, or tab to its row, to light it up." : sentence(shown.parts[index]);
  if (index < 0) return;
  const { width, height } = scene, dark = colour(0, 0, 0, 175), rim = colour(255, 230, 0, 255);
  const rims = picked("view") === "regions";  // a segment may be all specks
  layer("lit", (pixels) => {
    for (let i = 0; i < width * height; i++) {
      if (partAt(i) !== index) {
        if (!rims) { pixels[i] = dark; continue; }
        const x = i % width;
        const beside = (x + 1 < width && partAt(i + 1) === index) || (x > 0 && partAt(i - 1) === index)
          || (i >= width && partAt(i - width) === index) || (i + width < width * height && partAt(i + width) === index);
        pixels[i] = beside ? rim : dark;
      }
    }
  });
}

function cell(row, content, tag = "td") {
  const made = row.appendChild(document.createElement(tag));
  if (tag === "th") made.scope = "row";
  made.append(content);
}

function button(text, label, onclick) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(text);
  made.setAttribute("aria-label", label);
  made.addEventListener("click", onclick);
  return made;
}

function fill() {
  const body = document.querySelector("#rows tbody"), bar = by("bar");
  const word = picked("view") === "regions" ? "Region" : "Segment";
  by("what").textContent = word;
  by("h-list").textContent = `${shown.parts.length} ${word.toLowerCase()}${shown.parts.length === 1 ? "" : "s"}`;
  by("rows").classList.toggle("many", scene.bands.length > 3);
  body.replaceChildren();
  bar.replaceChildren();
  shown.parts.forEach((part, i) => {
    const row = body.appendChild(document.createElement("tr"));
    row.dataset.part = i;
    const number = button(String(part.number), sentence(part), () => keep(i));
    number.setAttribute("aria-pressed", "false");
    number.className = "keep";
    cell(row, number, "th");
    const swatch = button(part.hex, `Copy ${part.hex}, the colour of ${part.name.toLowerCase()}`, () => copy(part.hex));
    swatch.className = "swatch";
    const chip = document.createElement("i");
    chip.style.background = part.hex;
    swatch.prepend(chip);
    cell(row, swatch);
    cell(row, percent(part.share));
    cell(row, list(part.mean));
    cell(row, list(part.spread, 2));
    row.addEventListener("pointerenter", () => light(i));
    row.addEventListener("pointerleave", () => light(kept));
    row.addEventListener("focusin", () => light(i));
    row.addEventListener("focusout", () => light(kept));
    const piece = bar.appendChild(document.createElement("span"));
    Object.assign(piece.style, { background: part.hex, flex: `${part.share} 0 0` });
    piece.dataset.part = i;
    piece.title = sentence(part);
    piece.addEventListener("pointerenter", () => light(i));
    piece.addEventListener("pointerleave", () => light(kept));
  });
}

function keep(index) {
  kept = kept === index ? -1 : index;
  document.querySelectorAll("button.keep").forEach((b, i) => b.setAttribute("aria-pressed", String(i === kept)));
  light(kept);
}

async function copy(text) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  by("copied").textContent = done ? `Copied ${text}.` : `${text} could not be copied; this browser does not allow it.`;
}

function draw() {
  const some = picked("view") === "regions";
  shown = some ? scene.cut(Number(regions.value)) : scene.segments();
  by("count").textContent = regions.value;
  const specks = scene.specks > 1 ? `; parts of fewer than ${scene.specks} pixels are absorbed first` : "";
  const why = scene.known.length ? "as known labels differ or nothing connects them" : "as nothing connects them";
  const apart = scene.fewest > 1 ? ` At least ${scene.fewest} stay apart, ${why}.` : "";
  by("specks").textContent = `Regions are joined from up to ${scene.most}${specks}.${apart}`;
  lit = -2;
  kept = -1;
  paintCut();
  paintSure();
  fill();
  light(-1);
}

async function choose(k) {
  const next = await scenes.get(String(k)).open();
  scene = next;
  regions.min = scene.fewest;
  regions.max = scene.most;
  regions.value = scene.start;
  draw();
  document.documentElement.dataset.ready = String(k);
}

function wiped() {
  const at = Number(wipe.value);
  by("cut").style.clipPath = `inset(0 ${100 - at}% 0 0)`;
  by("edge").style.left = `${at}%`;
  wipe.setAttribute("aria-valuetext", `${at}% segments, ${100 - at}% photograph`);
}

function spot(event) {
  const box = stage.getBoundingClientRect();
  const x = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.9999);
  const y = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 0.9999);
  return { x, index: Math.floor(y * scene.height) * scene.width + Math.floor(x * scene.width) };
}

// What moves no further than a finger does in a tap is a click, not a drag.
const STILL = 6;
let dragging = false, pressed = null;
stage.addEventListener("pointerdown", (event) => {
  if (!scene || !event.isPrimary) return;
  pressed = { x: event.clientX, y: event.clientY };
  stage.setPointerCapture(event.pointerId);
  light(partAt(spot(event).index));
});
stage.addEventListener("pointermove", (event) => {
  if (!scene) return;
  const { x, index } = spot(event);
  if (pressed && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > STILL) dragging = true;
  if (dragging) {
    wipe.value = Math.round(100 * x);
    wiped();
  } else light(partAt(index));
});
["pointerup", "pointercancel"].forEach((name) => stage.addEventListener(name, (event) => {
  if (name === "pointerup" && pressed && !dragging) keep(partAt(spot(event).index));
  dragging = false;
  pressed = null;
}));
stage.addEventListener("pointerleave", () => light(kept));

wipe.addEventListener("input", wiped);
certainty.addEventListener("change", paintSure);
regions.addEventListener("input", () => {
  document.querySelector('input[name="view"][value="regions"]').checked = true;
  draw();
});
document.querySelectorAll('input[name="view"]').forEach((e) => e.addEventListener("change", draw));
document.querySelectorAll('input[name="k"]').forEach((e) => e.addEventListener("change", () => choose(e.value)));

// Values of the learning curves at an iteration.
const chart = by("learning"), step = by("step");
function read() {
  const { values, last, box: [left, right] } = data.curves;
  const at = Number(step.value), x = left + (at / last) * (right - left);
  const cross = chart.querySelector(".cross");
  cross.removeAttribute("hidden");
  cross.setAttribute("x1", x);
  cross.setAttribute("x2", x);
  by("at").textContent = step.value;
  document.querySelectorAll("#values td").forEach((e) => {
    const curve = values[e.dataset.k] ?? [];
    const there = Math.min(at, curve.length - 1);
    e.textContent = there < 0 ? "–" : curve[there].toFixed(4) + (there < at ? ` (ended at ${there})` : "");
  });
}
if (chart) {
  step.addEventListener("input", read);
  chart.addEventListener("pointermove", (event) => {
    const area = chart.getBoundingClientRect(), { last, box: [left, right] } = data.curves;
    const x = ((event.clientX - area.left) / area.width) * chart.viewBox.baseVal.width;
    step.value = Math.round(Math.min(1, Math.max(0, (x - left) / (right - left))) * last);
    read();
  });
  read();
}

wiped();
choose(picked("k") ?? Object.keys(data.scenes)[0]);
