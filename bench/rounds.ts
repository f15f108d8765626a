import { summarise, type Summary } from './statistics.ts';

/** One of the things that are measured beside each other. */
export type Sides<Name extends string> = Record<Name, () => Promise<number>>;

export type Measured<Name extends string> = Record<Name, number[]>;

/**
 * Measures every side once a round, in turn and every other round the other way about, so that what the
 * machine does meanwhile meets all of them alike.
 */
export async function interleave<Name extends string>(
  rounds: number,
  sides: Sides<Name>,
  tell: (line: string) => void,
): Promise<Measured<Name>> {
  const names = Object.keys(sides) as Name[];
  const measured = Object.fromEntries(names.map((name) => [name, []])) as unknown as Measured<Name>;
  for (let round = 1; round <= rounds; round += 1) {
    for (const name of round % 2 === 1 ? names : names.toReversed()) {
      tell(`round ${round} of ${rounds}: ${name.replaceAll('_', ' ')}`);
      measured[name].push(await sides[name]());
    }
  }
  return measured;
}

/** One side to another, round by round: what both met does not show. */
export function ratio(of: readonly number[], to: readonly number[]): Summary {
  return summarise(of.map((value, round) => value / (to[round] ?? NaN)));
}
