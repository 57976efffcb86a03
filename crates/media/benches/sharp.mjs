// The same work by npm `sharp`, for the benchmark `recipe`: node sharp.mjs FOLDER_OF_SHARP FILE MODE EFFORT ROUNDS OUTPUT_PREFIX
//
// MODE `three` is three pipelines, each from the file; `smart` decodes once and makes each picture from the one before.
// Prints one line of JSON: CPU milliseconds a round and the peak of resident memory in MiB.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';

const [folder, file, mode, effort, rounds, output] = process.argv.slice(2);
const sharp = createRequire(`${folder}/`)('sharp');
sharp.cache(false);
sharp.concurrency(1);

const input = readFileSync(file);
const inside = (side) => ({ width: side, height: side, fit: 'inside', withoutEnlargement: true });
const cover = { width: 200, height: 200, fit: 'cover', withoutEnlargement: true };
const webp = (image, quality) => image.webp({ quality, effort: Number(effort) }).toBuffer();

async function three() {
  const open = () => sharp(input).rotate();
  return {
    thumb: await webp(open().resize(cover), 80),
    medium: await webp(open().resize(inside(800)), 85),
    large: await webp(open().resize(inside(1920)), 90),
  };
}

async function smart() {
  const raw = (pipeline) => pipeline.raw().toBuffer({ resolveWithObject: true });
  const from = ({ data, info }) => sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
  const large = await raw(sharp(input).rotate().resize(inside(1920)));
  const medium = await raw(from(large).resize(inside(800)));
  return {
    thumb: await webp(from(medium).resize(cover), 80),
    medium: await webp(from(medium), 85),
    large: await webp(from(large), 90),
  };
}

const make = mode === 'smart' ? smart : three;
const made = await make(); // Warm: what is loaded and compiled once is not counted.
const before = process.cpuUsage();
for (let round = 0; round < Number(rounds); round++) await make();
const { user, system } = process.cpuUsage(before);
for (const [name, bytes] of Object.entries(made)) writeFileSync(`${output}-${name}.webp`, bytes);
console.log(JSON.stringify({ cpu: (user + system) / 1000 / Number(rounds), peak: process.resourceUsage().maxRSS / 1024 }));
