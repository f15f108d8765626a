import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Profile } from 'pprof-format';

const widthPx = 1_200;
const rowPx = 17;
const letterPx = 6.6;
const leastShare = 0.002;
const colours = ['#e4572e', '#f2a541', '#f0803c', '#d9822b', '#eeb462'];

interface Frame {
  name: string;
  value: number;
  children: Map<string, Frame>;
}

/** Of the CPU time of a profile; the root is the whole. */
function readFrames(gzipped: Buffer): Frame {
  const profile = Profile.decode(gunzipSync(gzipped));
  const text = (index: number | bigint) => profile.stringTable.strings[Number(index)] ?? '';
  const functions = new Map(profile.function.map((each) => [each.id, each]));
  const locations = new Map(profile.location.map((each) => [each.id, each]));
  const types = profile.sampleType.map(({ type }) => text(type));
  const column = Math.max(types.indexOf('cpu'), 0);
  const root: Frame = { name: 'all', value: 0, children: new Map() };
  for (const sample of profile.sample) {
    const value = Number(sample.value[column] ?? 0);
    if (value === 0) continue;
    let frame = root;
    frame.value += value;
    for (const id of sample.locationId.toReversed()) {
      const line = locations.get(id)?.line[0];
      const called = line && functions.get(line.functionId);
      const name = called === undefined ? '?' : nameOf(text(called.name), text(called.filename));
      let child = frame.children.get(name);
      child ??= { name, value: 0, children: new Map() };
      frame.children.set(name, child);
      child.value += value;
      frame = child;
    }
  }
  return root;
}

/** The function and its file, without where that lies on this machine. */
function nameOf(name: string, file: string): string {
  const short = file.replace(/^.*\/(?:node_modules|dist)\//, '');
  return `${name === '' ? '(anonymous)' : name}${short === '' ? '' : ` ${short}`}`;
}

function render(root: Frame): string {
  const boxes: string[] = [];
  let deepest = 0;
  const draw = (frame: Frame, depth: number, left: number): void => {
    const width = (widthPx * frame.value) / root.value;
    if (frame.value / root.value < leastShare) return;
    deepest = Math.max(deepest, depth);
    const percent = ((100 * frame.value) / root.value).toFixed(1);
    const fits = Math.floor(width / letterPx) - 1;
    const label = fits < 3 ? '' : escape(frame.name.slice(0, fits));
    boxes.push(
      `<g><title>${escape(frame.name)} ${percent} %</title>` +
        `<rect x="${left.toFixed(1)}" y="${depth * rowPx}" width="${width.toFixed(1)}" height="${rowPx - 1}" ` +
        `fill="${colours[(frame.name.length + depth) % colours.length] ?? ''}"/>` +
        `<text x="${(left + 3).toFixed(1)}" y="${depth * rowPx + 12}">${label}</text></g>`,
    );
    let from = left;
    for (const child of [...frame.children.values()].toSorted((a, b) => b.value - a.value)) {
      draw(child, depth + 1, from);
      from += (widthPx * child.value) / root.value;
    }
  };
  draw(root, 0, 0);
  const height = (deepest + 1) * rowPx;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${widthPx} ${height}" ` +
    `font-family="monospace" font-size="11">\n${boxes.join('\n')}\n</svg>\n`
  );
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Profiles the process behind a pprof port for so long and writes the picture. */
export async function drawFlameGraph(
  pprofOrigin: string,
  file: string,
  seconds: number,
): Promise<void> {
  const answer = await fetch(`${pprofOrigin}/debug/pprof/profile?seconds=${seconds}`);
  if (!answer.ok) throw new Error(`${pprofOrigin} answered ${answer.status}`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, render(readFrames(Buffer.from(await answer.arrayBuffer()))));
}
