// The image with circle, evidence and streaks on a canvas, as sm3/swarm/picture.py draws them.

const FIELD_UM = 83.2;
const MAP = 16;
const ORANGE = [230, 97, 1], BLUE = [30, 120, 190];

export function draw(canvas, image, result, circle, { strength, strokes }) {
  const scale = canvas.width / Math.max(image.width, image.height);
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#222";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.drawImage(grey(image, circle), 0, 0);
  const [x, y, radius] = circle;
  if (result) {
    const side = FIELD_UM / result.umPerPx;
    context.save();
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.clip();
    context.globalAlpha = strength;
    context.drawImage(tint(result.evidence), x - side / 2, y - side / 2, side, side);
    context.restore();
    if (strokes) drawStrokes(context, result, x, y, scale);
  }
  context.lineWidth = 2.5 / scale;
  context.strokeStyle = "#ffdd57";
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

let shown = { image: null, circle: "", canvas: null };

function grey(image, circle) {
  const key = circle.map((value) => Math.round(value)).join();
  if (shown.image === image && shown.circle === key) return shown.canvas;
  const [cx, cy, radius] = circle;
  const inside = [];
  for (let y = 0; y < image.height; y += 2) {
    for (let x = 0; x < image.width; x += 2) {
      if ((x - cx) ** 2 + (y - cy) ** 2 < (0.9 * radius) ** 2) inside.push(image.pixels[y * image.width + x]);
    }
  }
  const sorted = Float32Array.from(inside.length ? inside : image.pixels).sort();
  const low = sorted[Math.floor(0.005 * (sorted.length - 1))], high = sorted[Math.floor(0.995 * (sorted.length - 1))];
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  const data = context.createImageData(image.width, image.height);
  for (let at = 0; at < image.pixels.length; at += 1) {
    data.data.fill(((image.pixels[at] - low) / Math.max(high - low, 1e-9)) * 200 + 28, 4 * at, 4 * at + 3);
    data.data[4 * at + 3] = 255;
  }
  context.putImageData(data, 0, 0);
  shown = { image, circle: key, canvas };
  return canvas;
}

function tint(evidence) {
  const most = Math.max(1e-9, ...evidence.map(Math.abs));
  const canvas = new OffscreenCanvas(MAP, MAP);
  const context = canvas.getContext("2d");
  const data = context.createImageData(MAP, MAP);
  evidence.forEach((value, at) => {
    data.data.set([...(value > 0 ? ORANGE : BLUE), (Math.abs(value) / most) * 200], 4 * at);
  });
  context.putImageData(data, 0, 0);
  return canvas;
}

function drawStrokes(context, result, x, y, scale) {
  const step = FIELD_UM / MAP / result.umPerPx;
  const places = MAP * MAP;
  const energies = result.streaks.slice(2 * places).filter((energy) => energy > 0).sort((a, b) => a - b);
  const least = 0.3 * (energies[Math.floor(energies.length / 2)] ?? Infinity);
  context.lineWidth = 3 / scale;
  for (let at = 0; at < places; at += 1) {
    const [along, across, energy] = [0, 1, 2].map((part) => result.streaks[part * places + at]);
    if (energy <= least) continue;
    const px = ((at % MAP) + 0.5 - MAP / 2) * step, py = (Math.floor(at / MAP) + 0.5 - MAP / 2) * step;
    const angle = 0.5 * Math.atan2(across, along) + Math.PI / 2;
    const half = (0.45 * step * Math.hypot(along, across)) / (energy + 1e-9);
    const tangential = Math.sin(angle - Math.atan2(py, px)) ** 2;
    const colour = ORANGE.map((value, band) => Math.round(value * tangential + BLUE[band] * (1 - tangential)));
    context.strokeStyle = `rgb(${colour.join()})`;
    context.beginPath();
    context.moveTo(x + px - half * Math.cos(angle), y + py - half * Math.sin(angle));
    context.lineTo(x + px + half * Math.cos(angle), y + py + half * Math.sin(angle));
    context.stroke();
  }
}
