"use strict";
// Pixels are { height, width, data }: data is (H, W, 3) RGB in a Uint8Array.

/** One axis of Pillow's antialiased bilinear filter: for each output position its first input and integer weights. */
function taps(from, to) {
  const scale = from / to, support = Math.max(scale, 1), one = 1 << 22;
  return Array.from({ length: to }, (_, out) => {
    const centre = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let at = first; at < last; at++) weights.push(Math.max(0, 1 - Math.abs((at - centre + 0.5) / support)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc((weight / sum) * one + 0.5)) };
  });
}

/** Resize a canvas's ImageData as lstn/images.py does, to the bit: across, rounded to 8 bits, then down. */
function resized(image, height, width) {
  const across = new Uint8Array(image.height * width * 3), data = new Uint8Array(height * width * 3);
  const columns = taps(image.width, width), rows = taps(image.height, height);
  const half = 1 << 21;
  let to = 0;
  for (let y = 0; y < image.height; y++) {
    for (const { first, weights } of columns) {
      let at = (y * image.width + first) * 4, r = half, g = half, b = half;
      for (const weight of weights) {
        r += image.data[at] * weight;
        g += image.data[at + 1] * weight;
        b += image.data[at + 2] * weight;
        at += 4;
      }
      across[to++] = r >> 22;
      across[to++] = g >> 22;
      across[to++] = b >> 22;
    }
  }
  to = 0;
  for (const { first, weights } of rows) {
    for (let x = 0; x < width * 3; x++) {
      let at = first * width * 3 + x, sum = half;
      for (const weight of weights) {
        sum += across[at] * weight;
        at += width * 3;
      }
      data[to++] = sum >> 22;
    }
  }
  return { height, width, data };
}

/** The most probable classes, [{ index, probability }], best first. */
function best(logits, count) {
  const most = logits.reduce((largest, logit) => Math.max(largest, logit), -Infinity);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  const ranked = powers.map((power, index) => ({ index, probability: power / sum }));
  return ranked.sort((one, other) => other.probability - one.probability).slice(0, count);
}

/** Show pixels on a canvas, one to one. */
function paint(canvas, { height, width, data }) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    image.data.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
    image.data[pixel * 4 + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Read a picture file whole: EXIF rotation applied, colours as they are in the file, alpha on black. */
async function opened(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  // Telephones refuse canvases of more than 16 million pixels: larger pictures are first made smaller by the browser.
  const shrink = Math.min(1, Math.sqrt(16e6 / (bitmap.width * bitmap.height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * shrink));
  canvas.height = Math.max(1, Math.floor(bitmap.height * shrink));
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}
