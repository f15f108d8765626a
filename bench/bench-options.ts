import { parseArgs } from 'node:util';
import type { Extent } from './scenario.ts';

const fullExtent: Extent = { rounds: 5, seconds: 4, largest: 1_000_000, isQuick: false };
const quickExtent: Extent = { rounds: 1, seconds: 1, largest: 20_000, isQuick: true };
const roundsMax = 100;
const largestMin = 10_000;

export interface BenchOptions {
  extent: Extent;
  /** Fails where a figure misses its guard. */
  guard: boolean;
  /** The last line is JSON. */
  json: boolean;
  /** A folder for flame graphs of a hot read and of a refresh; undefined: none. */
  flames: string | undefined;
  /** Names of figures or parts of them; empty: all. */
  only: string[];
}

/** Throws an error that says what is wrong. */
export function parseBenchOptions(args: string[]): BenchOptions {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      guard: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      flames: { type: 'string' },
      rounds: { type: 'string' },
      largest: { type: 'string' },
    },
  });
  const extent = values.quick ? quickExtent : fullExtent;
  const rounds = values.rounds === undefined ? extent.rounds : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > roundsMax) {
    throw new Error(`--rounds is a whole number from 1 to ${roundsMax}`);
  }
  const largest = values.largest === undefined ? extent.largest : Number(values.largest);
  if (!Number.isInteger(largest) || largest < largestMin) {
    throw new Error(`--largest is a whole number from ${largestMin}`);
  }
  return {
    extent: { ...extent, rounds, largest },
    guard: values.guard,
    json: values.json,
    flames: values.flames,
    only: values.only.flatMap((names) => names.split(',')),
  };
}
