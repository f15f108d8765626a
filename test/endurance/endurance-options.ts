import { parseArgs } from 'node:util';

export interface EnduranceOptions {
  minutes: number;
  connections: number;
  seed: number;
  /** The progress goes to the log file only. */
  quiet: boolean;
}

const minutesMin = 0.5;
const minutesMax = 24 * 60;
const connectionsMin = 20;
const connectionsMax = 5_000;
const seedMax = 2 ** 32;

/** `--minutes n [--connections n] [--seed n] [--quiet]`. Throws what to write instead. */
export function parseEnduranceOptions(args: string[], randomSeed: () => number): EnduranceOptions {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: 'string' },
      connections: { type: 'string', default: '500' },
      seed: { type: 'string' },
      quiet: { type: 'boolean', default: false },
    },
  });
  const { minutes = '' } = values;
  return {
    minutes: readNumber('minutes', minutes, { min: minutesMin, max: minutesMax }),
    connections: Math.round(
      readNumber('connections', values.connections, { min: connectionsMin, max: connectionsMax }),
    ),
    seed:
      values.seed === undefined
        ? randomSeed()
        : Math.round(readNumber('seed', values.seed, { min: 0, max: seedMax })),
    quiet: values.quiet,
  };
}

function readNumber(
  name: string,
  value: string,
  { min, max }: { min: number; max: number },
): number {
  const number = value === '' ? NaN : Number(value);
  if (number >= min && number <= max) return number;
  throw new Error(
    `--${name} must be a number from ${min} to ${max}. ` +
      'Usage: npm run endure -- --minutes 20 [--connections 500] [--seed 1] [--quiet]',
  );
}
