// A file -> one grey image with its pixel size, as sm3/swarm/images.py reads it: TIFF through geotiff, the rest by the browser.

/* global GeoTIFF */
const MOST_PIXELS = 40_000_000;
const MOST_FRAMES = 64;
const LONGEST = 640;
const UNITS = { um: 1, "µm": 1, "μm": 1, micron: 1, nm: 1e-3, mm: 1e3, cm: 1e4, m: 1e6 };

export class ReadingError extends Error {}

export async function readImage(file, umPerPx) {
  const bytes = await file.arrayBuffer();
  const start = new Uint8Array(bytes.slice(0, 4));
  const tiff = (start[0] === 0x49 && start[1] === 0x49) || (start[0] === 0x4d && start[1] === 0x4d);
  let image;
  try {
    image = tiff ? await readTiff(bytes) : await readPicture(file);
  } catch (error) {
    if (error instanceof ReadingError) throw error;
    throw new ReadingError("the file is damaged, or no TIFF, PNG or JPEG: export it as 16-bit TIFF");
  }
  if (image.pixels.some((value) => !Number.isFinite(value))) throw new ReadingError("the image holds values that are no numbers: export it again");
  if (Math.min(image.width, image.height) < 16) throw new ReadingError("the image is smaller than 16 pixels: give one whole well");
  return reduced({ ...image, name: file.name, umPerPx: umPerPx ?? image.umPerPx ?? null });
}

async function readTiff(bytes) {
  const tiff = await GeoTIFF.fromArrayBuffer(bytes);
  const first = await tiff.getImage(0);
  const width = first.getWidth(), height = first.getHeight();
  if (width * height > MOST_PIXELS || width * height === 0) throw new ReadingError(`the image has ${width} x ${height} pixels: crop one well`);
  const described = (await value(first, "ImageDescription")) ?? "";
  const planes = Number(/SizeZ="(\d+)"/.exec(described)?.[1] ?? /^slices=(\d+)/m.exec(described)?.[1] ?? 1);
  if (planes > 1) throw new ReadingError("a stack along z: save one plane");
  const channels = Number(/SizeC="(\d+)"/.exec(described)?.[1] ?? /^channels=(\d+)/m.exec(described)?.[1] ?? 1);
  const samples = first.getSamplesPerPixel();
  if (channels > 1 && samples === 1) throw new ReadingError("several channels: save one of them");
  const frames = await tiff.getImageCount();
  if (frames > MOST_FRAMES) throw new ReadingError(`${frames} frames: average ten of them first`);
  const pixels = new Float32Array(width * height);
  let colour = 0, taken = 0;
  for (let index = 0; index < frames; index += 1) {
    const page = index ? await tiff.getImage(index) : first;
    if (page.getWidth() !== width || page.getHeight() !== height) continue; // a thumbnail
    const bands = await page.readRasters();
    colour = Math.max(colour, addGrey(pixels, Array.from(bands)));
    taken += 1;
  }
  for (let at = 0; at < pixels.length; at += 1) pixels[at] /= taken;
  if ((await value(first, "PhotometricInterpretation")) === 0) {
    const bits = first.getBitsPerSample();
    const top = bits <= 16 ? 2 ** bits - 1 : pixels.reduce((most, one) => Math.max(most, one), -Infinity);
    for (let at = 0; at < pixels.length; at += 1) pixels[at] = top - pixels[at];
  }
  const notes = taken > 1 ? [`mean of ${taken} frames`] : [];
  return { pixels, width, height, colour: colour / spread(pixels), frames: taken, umPerPx: await scaleOf(first, described), notes };
}

async function value(image, tag) {
  return image.fileDirectory.hasTag(tag) ? image.fileDirectory.loadValue(tag) : undefined;
}

async function scaleOf(image, described) {
  const size = /PhysicalSizeX="([^"]{1,40})"/.exec(described);
  const unit = /PhysicalSizeXUnit="([^"]{1,20})"/.exec(described);
  const factor = UNITS[unit ? unit[1] : "um"];
  if (size && factor) return plausible(Number(size[1]) * factor);
  const resolution = await value(image, "XResolution");
  if (!resolution || !resolution[0]) return null;
  const perPixel = resolution[1] / resolution[0];
  if (/^ImageJ=/m.test(described)) {
    const named = /^unit=(.+)$/m.exec(described)?.[1].trim().replace("\\u00B5", "µ") ?? "";
    return UNITS[named] ? plausible(perPixel * UNITS[named]) : null;
  }
  return (await value(image, "ResolutionUnit")) === 3 ? plausible(perPixel * 1e4) : null;
}

function plausible(umPerPx) {
  return umPerPx >= 0.02 && umPerPx <= 5 ? umPerPx : null;
}

// Adds one frame; returns the mean difference between its colours, 0 for a grey one.
function addGrey(pixels, bands) {
  const colours = bands.slice(0, bands.length >= 3 ? 3 : 1);
  let difference = 0;
  for (let at = 0; at < pixels.length; at += 1) {
    let sum = 0, most = -Infinity, least = Infinity;
    for (const band of colours) {
      const one = band[at];
      sum += one;
      if (one > most) most = one;
      if (one < least) least = one;
    }
    pixels[at] += sum / colours.length;
    difference += most - least;
  }
  return difference / pixels.length;
}

function spread(pixels) {
  let low = Infinity, high = -Infinity;
  for (const one of pixels) {
    if (one < low) low = one;
    if (one > high) high = one;
  }
  return high > low ? high - low : Infinity;
}

async function readPicture(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new ReadingError(`the image has ${width} x ${height} pixels: crop one well`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const data = context.getImageData(0, 0, width, height).data;
  const bands = [0, 1, 2].map((band) => Float32Array.from({ length: width * height }, (_, at) => data[4 * at + band]));
  const pixels = new Float32Array(width * height);
  const colour = addGrey(pixels, bands);
  return { pixels, width, height, colour: colour / spread(pixels), frames: 1, umPerPx: null,
    notes: ["8-bit picture: a 16-bit TIFF keeps more of the contrast"] };
}

// The longer side at most LONGEST pixels, by averaging squares.
function reduced(image) {
  const factor = Math.ceil(Math.max(image.width, image.height) / LONGEST);
  if (factor <= 1) return image;
  const width = Math.floor(image.width / factor), height = Math.floor(image.height / factor);
  const pixels = new Float32Array(width * height);
  for (let y = 0; y < height * factor; y += 1) {
    for (let x = 0; x < width * factor; x += 1) {
      pixels[Math.floor(y / factor) * width + Math.floor(x / factor)] += image.pixels[y * image.width + x] / (factor * factor);
    }
  }
  return { ...image, pixels, width, height, umPerPx: image.umPerPx === null ? null : image.umPerPx * factor };
}
