import { createSeededRandom, type SeededRandom } from './seeded-random.ts';

export const gatewayNames = ['gateway-1', 'gateway-2'] as const;
export const workerNames = ['worker-1', 'worker-2'] as const;
export type ServiceName = (typeof gatewayNames)[number] | (typeof workerNames)[number];

export const providerFaults = [
  /** The answer comes seconds late, or too late. */
  'delay',
  /** Exchanged, and then the connection ends without an answer. */
  'drop',
  /** 503 with Retry-After; nothing is exchanged. */
  'unavailable',
  /** The 502 page of a proxy; in one half of the cases after the exchange. */
  'bad_gateway',
  /** Exchanged; half of the body arrives. */
  'truncate',
  /** 429 with Retry-After; nothing is exchanged. */
  'rate_limit',
] as const;
export type ProviderFault = (typeof providerFaults)[number];

/** One fault: from `atMs` after the start, for `durationMs`, then it is undone. */
export type ChaosAction = { atMs: number; durationMs: number } & (
  | { what: 'kill' | 'terminate' | 'stop'; victim: ServiceName }
  | { what: 'kill'; victim: 'postgres' | 'temporal' }
  | { what: ProviderFault; victim: 'provider' }
);
type Choice = Pick<ChaosAction, 'what' | 'victim'>;

const warmUpMs = 8_000;
const healShare = 0.27;
const calmMs = [2_500, 6_000] as const;
/** How many faults begin together, as often as they stand here. */
const together = [1, 1, 2, 2, 3];
const apartMs = 1_500;
/** One stop in so many outlasts answer_by: then others have taken the claims over when it goes on. */
const longStopOneIn = 4;

/**
 * Blocks of one to three overlapping faults with calm between them, and none at the end, so that
 * everything can heal. Every kind of fault comes before one comes again. The same seed and length give
 * the same schedule.
 */
export function planChaos(options: { seed: number; lengthMs: number }): ChaosAction[] {
  const random = createSeededRandom(options.seed);
  const lastMs = options.lengthMs * (1 - healShare);
  const actions: ChaosAction[] = [];
  const draw = drawEachOnce(random);
  for (let atMs = warmUpMs; atMs < lastMs;) {
    const block: ChaosAction[] = [];
    for (let count = random.pick(together); count > 0; count -= 1) {
      const choice = draw();
      // A victim has one fault at a time; the other comes by itself another time.
      if (block.some(({ victim }) => victim === choice.victim)) continue;
      block.push({
        ...choice,
        atMs: Math.round(atMs + random.between(0, apartMs)),
        durationMs: durationOf(choice, random),
      } as ChaosAction);
    }
    const endMs = Math.max(...block.map((action) => action.atMs + action.durationMs));
    if (endMs > lastMs) break;
    actions.push(...block);
    atMs = endMs + random.between(...calmMs);
  }
  return actions.toSorted((one, other) => one.atMs - other.atMs);
}

/** Every kind of fault once, in an order of chance, then again. */
function drawEachOnce(random: SeededRandom): () => Choice {
  let left: Choice[] = [];
  return () => {
    if (left.length === 0) left = random.shuffle(kinds(random));
    const choice = left.pop();
    if (choice === undefined) throw new Error('there is no kind of fault');
    return choice;
  };
}

function kinds(random: SeededRandom): Choice[] {
  return [
    ...(['kill', 'terminate', 'stop'] as const).flatMap((what) => [
      { what, victim: random.pick(gatewayNames) },
      { what, victim: random.pick(workerNames) },
    ]),
    // Workers hold what can be lost: they are killed twice as often.
    { what: 'kill', victim: random.pick(workerNames) },
    { what: 'kill', victim: 'postgres' },
    { what: 'kill', victim: 'temporal' },
    ...providerFaults.map((what) => ({ what, victim: 'provider' as const })),
  ];
}

/** How long the victim is away, or the fault lasts. */
function durationOf({ what, victim }: Choice, random: SeededRandom): number {
  if (victim === 'provider') return Math.round(random.between(2_500, 5_000));
  if (victim === 'postgres') return Math.round(random.between(1_000, 5_000));
  if (victim === 'temporal') return Math.round(random.between(1_500, 6_000));
  if (what !== 'stop') return Math.round(random.between(300, 3_000));
  const isLong = random.next() < 1 / longStopOneIn;
  return Math.round(isLong ? random.between(14_000, 18_000) : random.between(2_000, 7_000));
}

export function describeAction(action: ChaosAction): string {
  const seconds = (ms: number): string => (ms / 1_000).toFixed(1).padStart(6);
  return `${seconds(action.atMs)} s  ${action.victim.padEnd(9)} ${action.what.padEnd(11)} for ${seconds(action.durationMs).trim()} s`;
}
