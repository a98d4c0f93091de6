// The page: files in, judgements out. Models run in WebAssembly on one thread, so the page needs no special headers.

import * as ort from "./vendor/ort.wasm.min.mjs";
import { draw } from "./drawing.mjs";
import { judge } from "./judging.mjs";
import { ReadingError, readImage } from "./reading.mjs";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;

const DIAMETER_UM = 74;
const MEASURES = ["contrast", "sharpness", "unevenness", "clipped"];
const at = (id) => document.getElementById(id);
let finder, classifier, card, current = null;
const judged = [];

async function load() {
  [card, finder, classifier] = await Promise.all([
    fetch("model/card.json").then((answer) => answer.json()),
    ort.InferenceSession.create("model/finder.onnx"),
    ort.InferenceSession.create("model/classifier.onnx"),
  ]);
  at("banner").hidden = !card.simulated;
  at("use").textContent = card.use;
  if (card.blind) showBlind(card.blind);
  const samples = await fetch("samples/samples.json").then((answer) => answer.json());
  for (const sample of samples) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sample.name;
    button.addEventListener("click", () => openSample(sample));
    at("samples").append(button);
  }
  tell("Ready.");
  document.body.dataset.ready = "yes";
}

function showBlind(blind) {
  const head = ["Blind test, simulated", "sensitivity", "specificity"];
  const rows = Object.entries(blind).map(([name, set]) => [name, share(set.sensitivity), share(set.specificity)]);
  const table = document.createElement("table");
  for (const [index, cells] of [head, ...rows].entries()) {
    const row = table.insertRow();
    for (const text of cells) {
      const cell = document.createElement(index ? "td" : "th");
      cell.textContent = text;
      row.append(cell);
    }
  }
  const wide = document.createElement("div");
  wide.className = "wide";
  wide.append(table);
  at("blind").append(wide);
}

const share = (part) => `${part.found} of ${part.of} (95 %: ${(100 * part.low).toFixed(1)} to ${(100 * part.high).toFixed(1)} %)`;

function tell(text) {
  at("status").textContent = text;
}

async function openSample(sample) {
  const answer = await fetch(`samples/${sample.file}`);
  await openFiles([new File([await answer.blob()], sample.file)]);
}

async function openFiles(files) {
  for (const [index, file] of files.entries()) {
    tell(`Judging ${index + 1} of ${files.length}…`);
    await new Promise((resolve) => setTimeout(resolve));
    try {
      const image = await readImage(file, scaleGiven());
      add({ image, circle: null, result: await assess(image, null) });
    } catch (error) {
      const reason = error instanceof ReadingError ? error.message : `it cannot be judged: ${error.message}`;
      add({ image: { name: file.name }, error: reason });
    }
  }
  tell("Ready.");
}

function scaleGiven() {
  const value = Number(at("scale").value);
  return value >= 0.02 && value <= 5 ? value : undefined;
}

export async function assess(image, circle) {
  const pixels = new ort.Tensor("float32", image.pixels, [1, 1, image.height, image.width]);
  const found = await finder.run({ image: pixels });
  const where = circle ? Float32Array.from(circle) : found.circle.data;
  const rim = circle ? 1 : found.rim.data[0];
  const umPerPx = image.umPerPx ?? DIAMETER_UM / (2 * where[2]);
  const out = await classifier.run({
    image: pixels,
    circle: new ort.Tensor("float32", Float32Array.from(where), [3]),
    um_per_px: new ort.Tensor("float32", Float32Array.of(umPerPx), [1]),
  });
  const measures = { rim, distance: out.distance.data[0], colour: image.colour, diameter_um: 2 * where[2] * umPerPx };
  MEASURES.forEach((name, index) => { measures[name] = out.measures.data[index]; });
  const judgement = judge(Array.from(out.logits.data), measures, card);
  return { ...judgement, measures, umPerPx, circle: Array.from(where),
    evidence: Array.from(out.evidence.data), streaks: Array.from(out.streaks.data) };
}

function add(entry) {
  judged.push(entry);
  const row = at("rows").insertRow();
  entry.row = row;
  fillRow(entry);
  at("batch").hidden = judged.length < 2 && !entry.error;
  if (entry.error) {
    if (judged.length === 1) at("result").hidden = true;
  } else show(entry);
  document.body.dataset.judged = judged.length;
}

function fillRow(entry) {
  const { result, error, image } = entry;
  entry.row.replaceChildren();
  const first = entry.row.insertCell();
  if (error) first.textContent = image.name;
  else {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = image.name;
    button.addEventListener("click", () => show(entry));
    first.append(button);
  }
  const cells = error ? ["unreadable", "", "", error]
    : [result.decision, result.probability.toFixed(3), `${result.low.toFixed(3)} to ${result.high.toFixed(3)}`, result.reason];
  for (const text of cells) entry.row.insertCell().textContent = text;
}

function show(entry) {
  current = entry;
  const { image, result } = entry;
  at("result").hidden = false;
  at("name").textContent = image.name;
  at("decision").textContent = result.decision;
  at("decision").className = `decision ${result.decision === "cannot tell" ? "none" : result.decision}`;
  at("reason").textContent = result.reason;
  at("mark").style.left = `${100 * result.probability}%`;
  at("span").style.left = `${100 * result.low}%`;
  at("span").style.width = `${100 * (result.high - result.low)}%`;
  const facts = [
    ["p(swarming)", result.probability.toFixed(3)],
    ["range", `${result.low.toFixed(3)} to ${result.high.toFixed(3)}, over members and mirror images; no confidence interval`],
    ["labels at 95 %", result.labels.join(", ") || "neither"],
    ["well", `${result.measures.diameter_um.toFixed(1)} µm wide`],
    ["pixel", `${result.umPerPx.toFixed(4)} µm${image.umPerPx === null ? ", from the published diameter: give it above" : ""}`],
  ];
  at("facts").replaceChildren(...facts.flatMap(([term, told]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = term;
    dd.textContent = told;
    return [dt, dd];
  }));
  at("notes").replaceChildren(...image.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
  at("canvas").setAttribute("aria-label", `${image.name}: ${result.decision}`);
  redraw();
}

function redraw() {
  if (!current) return;
  draw(at("canvas"), current.image, current.result, current.circle ?? current.result.circle,
    { strength: at("overlay").value / 100, strokes: at("strokes").checked });
}

async function moveCircle(circle) {
  const entry = current;
  entry.circle = circle;
  redraw();
  clearTimeout(entry.timer);
  entry.timer = setTimeout(async () => {
    entry.result = await assess(entry.image, entry.circle);
    fillRow(entry);
    if (entry === current) show(entry);
  }, 150);
}

at("canvas").addEventListener("keydown", (event) => {
  if (!current) return;
  const [x, y, r] = current.circle ?? current.result.circle;
  const step = event.shiftKey ? 5 : 1;
  const moves = { ArrowLeft: [x - step, y, r], ArrowRight: [x + step, y, r], ArrowUp: [x, y - step, r], ArrowDown: [x, y + step, r],
    "+": [x, y, r + step], "=": [x, y, r + step], "-": [x, y, Math.max(4, r - step)], 0: null };
  if (!(event.key in moves)) return;
  event.preventDefault();
  moveCircle(moves[event.key]);
});

let grip = null;
at("canvas").addEventListener("pointerdown", (event) => {
  if (!current) return;
  const place = inImage(event);
  const [x, y] = current.circle ?? current.result.circle;
  grip = [place[0] - x, place[1] - y];
  at("canvas").setPointerCapture(event.pointerId);
});
at("canvas").addEventListener("pointermove", (event) => {
  if (!grip || !current) return;
  const place = inImage(event);
  moveCircle([place[0] - grip[0], place[1] - grip[1], (current.circle ?? current.result.circle)[2]]);
});
for (const end of ["pointerup", "pointercancel"]) at("canvas").addEventListener(end, () => { grip = null; });

function inImage(event) {
  const box = at("canvas").getBoundingClientRect();
  const scale = Math.max(current.image.width, current.image.height) / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

at("files").addEventListener("change", (event) => openFiles([...event.target.files]).then(() => { event.target.value = ""; }));
for (const id of ["overlay", "strokes"]) at(id).addEventListener("input", redraw);
at("scale").addEventListener("change", async () => {
  const given = scaleGiven();
  if (!current || given === undefined) return;
  current.image = { ...current.image, umPerPx: given };
  current.result = await assess(current.image, current.circle);
  fillRow(current);
  show(current);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") openFiles([...event.dataTransfer.files]);
  });
}

at("csv").addEventListener("click", () => {
  const cell = (value) => `"${String(value).replaceAll('"', '""').replace(/^([=+\-@])/, "'$1")}"`;
  const lines = judged.map(({ image, result, error }) => (error
    ? [image.name, "unreadable", "", "", "", error, "", ""]
    : [image.name, result.decision, result.probability.toFixed(5), result.low.toFixed(5), result.high.toFixed(5), result.reason,
      result.measures.diameter_um.toFixed(2), result.umPerPx.toFixed(5)]).map(cell).join(","));
  const text = ["path,decision,probability,low,high,reason,diameter_um,um_per_px", ...lines].join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "wells.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

load().catch((error) => tell(`The model could not be loaded: ${error.message}. Open this page through sm3 swarm serve or a web server.`));
globalThis.sm3 = { judged };
